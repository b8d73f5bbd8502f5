"""`kitefeed init`: writes the configuration where it belongs, and says what comes next."""

import os
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import click

from kitefeed.actors.runtime import config_parser, toml_file
from kitefeed.actors.runtime.config_tables import Config
from kitefeed.actors.runtime.directories import prepare_directory
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.locks import live_holders
from kitefeed.actors.runtime.whole_file import write_atomically
from kitefeed.protocol import location
from kitefeed.protocol.errors import BadInput, ConfigError

EXAMPLE = Path(__file__).parents[2] / "kitefeed.example.toml"
DEVELOPERS = "https://developers.kite.trade"
INSTRUMENTS_DEFAULT = "NSE:NIFTY 50"  # an index always ticks: that the stream stands still is known
API_KEY, REDIRECT_URL, INSTRUMENTS = "kite.api_key", "kite.redirect_url", "instruments"


@click.command()
@click.option("--api-key", metavar="KEY", help=f"Your app's key, from {DEVELOPERS}.")
@click.option("--redirect-url", metavar="URL", help="The app's redirect URL, as registered there.")
@click.option("--instrument", "instruments", metavar="NAME", multiple=True,
              help="What is always streamed, such as NSE:INFY; may be given again.")  # fmt: skip
@click.option("--force", "is_forced", is_flag=True,
              help="Replace the file that is there; it is kept beside it, as *.old.")  # fmt: skip
@click.option("--print", "is_printed", is_flag=True,
              help="Print the example with all settings, and write nothing.")  # fmt: skip
def init(
    api_key: str | None,
    redirect_url: str | None,
    instruments: tuple[str, ...],
    is_forced: bool,
    is_printed: bool,
) -> None:
    """Write the configuration: ~/.kitefeed/kitefeed.toml, or the one that --config names.

    What no option gives is asked for on a terminal; elsewhere --api-key is needed.
    """
    if is_printed:
        click.echo(EXAMPLE.read_text("utf-8"), nl=False)
        return
    path = destination(is_forced)
    if not sys.stdin.isatty() and api_key is None:
        raise BadInput("The app's key is needed: `kitefeed init --api-key KEY`")
    given = ConfigDraft(path)
    given.take(API_KEY, api_key,
               f"Your app's key, from {DEVELOPERS} (none yet: Enter, the page asks for it)",
               "")  # fmt: skip
    given.take(REDIRECT_URL, redirect_url, "Its redirect URL, as registered there",
               Kite().redirect_url)  # fmt: skip
    given.take(INSTRUMENTS, ", ".join(instruments) or None,
               "Instruments to stream always, with commas between them",
               INSTRUMENTS_DEFAULT)  # fmt: skip
    write(path, given.text)
    click.echo(_next_step(path, config_parser.parse(tomllib.loads(given.text), path)))


def destination(is_forced: bool) -> Path:
    """Return the path of the configuration in force, or where it would be. Raises BadInput when it
    is there already and may not be replaced."""
    path = location.find_config() or location.home() / location.CONFIG_NAME
    if path.is_dir():
        raise BadInput(f"{path} is a directory; name a file")
    if os.path.lexists(path) and not is_forced:
        raise BadInput(
            f"{path} exists and was left as it is: edit it, or replace it with `kitefeed init "
            "--force`, which keeps the old one beside it"
        )
    return path.resolve()  # of a link, what it leads to


class ConfigDraft:
    """The example, filled in with one answer after the other; each is judged as the daemon will."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.text = EXAMPLE.read_text("utf-8")

    def take(self, name: str, given: str | None, question: str, default: str) -> None:
        """Take the answer from the option. Without one, ask on a terminal until the answer is good;
        elsewhere take the default. Raises BadInput for an option that cannot be used."""
        if given is None and sys.stdin.isatty():
            ask: Callable[[str], str] = lambda answer: self._ask(name, answer)  # noqa: E731
            click.prompt(question, default, show_default=bool(default), value_proc=ask, err=True)
            return
        try:
            self._set(name, default if given is None else given)
        except ConfigError as error:
            raise BadInput(f"Nothing was written: {_without(self._path, error)}") from None

    def _ask(self, name: str, answer: str) -> str:
        try:
            self._set(name, answer)
        except ConfigError as error:
            raise click.BadParameter(_without(self._path, error)) from None
        return answer

    def _set(self, name: str, answer: str) -> None:
        """Set the answer. Raises ConfigError, and then nothing was set."""
        words = [word.strip() for word in answer.split(",")]
        value = list(filter(None, words)) if name == INSTRUMENTS else answer.strip()
        text = toml_file.with_value(self.text, name, value)
        config_parser.parse(tomllib.loads(text), self._path)
        self.text = text


def _without(path: Path, error: ConfigError) -> str:
    """Return the sentence without the name of the file, which is not written yet."""
    return str(error).removeprefix(f"{path}: ")


def write(path: Path, text: str) -> None:
    """Replaces `path`, and keeps what was there as `*.old`. Raises ConfigError."""
    if path.parent == location.home() or not path.parent.exists():
        prepare_directory(path.parent)
    try:
        if path.exists():
            shutil.copy2(path, path.with_name(f"{path.name}.old"))
        write_atomically(path, text.encode())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror or error}); make room there, or correct "
            "the owner or mode of its directory"
        ) from None


def _next_step(path: Path, written: Config) -> str:
    lines = [
        f"The configuration is in {path}; every setting is explained there.",
        f"At {DEVELOPERS} the redirect URL of your app has to be {written.kite.redirect_url}",
    ]
    if live_holders(location.runtime_dir(path)):
        lines.append("A daemon runs with the old one: `kitefeed down` first.")
    page = f"open {written.gateway.url}/ in a browser"
    if not written.kite.api_key:
        return "\n".join([*lines, f"Next: `kitefeed up`, then {page}: it takes the app's key."])
    return "\n".join([*lines, f"Next: `kitefeed up`, then `kitefeed login`, or {page}."])
