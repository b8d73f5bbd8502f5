"""The calendar's files: the shipped table, and the user's own behind it."""

from pathlib import Path

from kitefeed.actors.policy import calendar
from kitefeed.actors.policy.calendar import BadTable, Calendar, Table
from kitefeed.protocol.errors import ConfigError

FILE_BYTES_MAX = 1_048_576  # the shipped table has 12 kB
SHIPPED = "calendar.toml"


def load(own: Path | None = None) -> Calendar:
    """Load the calendar in force. Raises ConfigError for a file of the user's that cannot be used;
    the sentence names file, key and remedy."""
    shipped = calendar.parse(_shipped())
    return Calendar([shipped] if own is None else [shipped, _read(own)])


def check(own: Path) -> None:
    """Check the user's own file. Raises ConfigError as `load` does."""
    _read(own)


def _shipped() -> str:
    return Path(calendar.__file__).with_name(SHIPPED).read_text("utf-8")


def _read(path: Path) -> Table:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: is larger than {FILE_BYTES_MAX} bytes; shorten it")
        return calendar.parse(data.decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; create it or correct market.calendar"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); correct its owner or mode") from None
    except BadTable as error:
        raise ConfigError(f"{path}: {error}; correct it") from None
