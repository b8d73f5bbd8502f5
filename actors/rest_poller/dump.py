"""The instrument dump, fetched and written in a process of its own, for its memory's sake:
`python -m kitefeed.actors.rest_poller.dump --url … --out … --day …`. No session is needed.

Prints the number of rows. Exit codes: 0, or 75 with one sentence on stderr.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from kitefeed.actors.runtime import instruments_db
from kitefeed.actors.runtime.kite_rest import KiteConnect, describe
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.kite.instruments import Instrument, parse_dump

TIMEOUT_S = 30


class _Client(KiteConnect):  # type: ignore[misc]
    """The official client with a parser that leaves a bad row out instead of dying of it."""

    def _parse_instruments(self, data: Any) -> list[Instrument]:
        text = data.decode("utf-8") if isinstance(data, bytes) else str(data)
        return list(parse_dump(text.strip()))


def fetch(url: str, out: Path, day_ist: str) -> instruments_db.Facts:
    """Downloads, parses, replaces `out`. Raises whatever the client or SQLite raises."""
    client: Any = _Client("dump", root=url, timeout=TIMEOUT_S, debug=False, disable_ssl=False)
    return instruments_db.write(out, client.instruments(), day_ist)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="kitefeed.actors.rest_poller.dump")
    parser.add_argument("--url", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--day", required=True)
    options = parser.parse_args(arguments)
    try:
        facts = fetch(options.url, options.out, options.day)
    except Exception as error:  # noqa: BLE001 - the parent tries again and says why
        sys.stderr.write(describe(error) + "\n")
        return Exit.TRY_LATER
    sys.stdout.write(f"{facts.rows}\n")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
