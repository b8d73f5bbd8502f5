"""Errors by remedy. Each carries facts; its text ends with what to do."""

from kitefeed.protocol.exits import Exit


class KitefeedError(Exception):
    """Base of all expected errors; `exit_code` is what a command ends with."""

    exit_code = Exit.BUG


class BadInput(KitefeedError):
    """Something a person or program gave is wrong; nothing was changed."""

    exit_code = Exit.BAD_INPUT


class Unavailable(KitefeedError):
    """Nothing answers on the wire."""

    exit_code = Exit.UNAVAILABLE


class TryLater(KitefeedError):
    """Refused or unconfirmed for now; the same call may succeed later."""

    exit_code = Exit.TRY_LATER


class LoginNeeded(KitefeedError):
    """No usable session, or a file that holds one is not safe to use."""

    exit_code = Exit.LOGIN


class ConfigError(KitefeedError):
    """The configuration cannot be used; says file, key and remedy."""

    exit_code = Exit.CONFIG
