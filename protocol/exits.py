"""Exit codes of every kitefeed command and actor, each with the answer to it.

The numbers are those of BSD's sysexits.h where one fits, so that scripts and supervisors know them.
"""

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    BUG = 1  # an unexpected error; the traceback is on stderr: please report it
    USAGE = 2  # the command line is wrong: `kitefeed COMMAND --help`
    BAD_INPUT = 65  # an instrument, token or URL that was given is wrong: correct it
    UNAVAILABLE = 69  # no daemon or simulator answers: `kitefeed up`; or a package is missing
    OUTPUT = 74  # standard output cannot be written: make room where it goes
    TRY_LATER = 75  # already running, or not confirmed in time: `kitefeed status`
    LOGIN = 77  # the session is missing or refused, or a file's mode is unsafe: `kitefeed login`
    CONFIG = 78  # kitefeed.toml is missing or wrong: the message names file, key and remedy


MEANING: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.BUG: "a fault in kitefeed itself; the traceback says where",
    Exit.USAGE: "the command line is wrong; `kitefeed COMMAND --help` shows it",
    Exit.BAD_INPUT: "what you gave is wrong (an instrument, a token, a URL); it was not applied",
    Exit.UNAVAILABLE: "nothing answers; start the daemon with `kitefeed up`. "
    "Or a package is missing, which the message names",
    Exit.OUTPUT: "standard output cannot be written; make room where it goes",
    Exit.TRY_LATER: "already running, or not confirmed in time; `kitefeed status` says more",
    Exit.LOGIN: "a login is needed, or a file that holds a secret is readable by others",
    Exit.CONFIG: "the configuration is missing or wrong; the message names file, key and remedy",
}
