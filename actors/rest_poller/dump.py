"""The instrument dump, fetched and written in a process of its own, for its memory's sake:
`python -m kitefeed.actors.rest_poller.dump --url … --list … --day …`. No session is needed.

The new list is put beside the one in use (`offered_path`) and compared with it; whether it takes
its place is decided elsewhere. Prints a `Fetched` as JSON. Exit codes: 0, or 75 with one sentence
on stderr.
"""

import argparse
import sys
import zlib
from http import HTTPStatus
from pathlib import Path

import msgspec
from urllib3.exceptions import HTTPError

from kitefeed.actors.runtime import instruments_db
from kitefeed.actors.runtime.kite_rest import KiteHttp, describe
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.instrument_list import ListDamaged
from kitefeed.protocol.kite.instruments import Loss, parse_dump

TIMEOUT_S = 30
BYTES_MAX = 256 << 20  # unzipped; Kite's has 9 MB
_PART_BYTES = 1 << 16
_GZIP = b"\x1f\x8b"
_GZIP_ONLY = 31  # zlib's number for a gzip header and trailer: length and checksum are compared


class Fetched(msgspec.Struct, frozen=True):
    """A list that was fetched whole. `left_out` counts rows by reason; `losses` is the comparison
    with the list in use, None where there is none that could be compared."""

    rows: int
    digest: str
    left_out: dict[str, int] = {}
    losses: tuple[Loss, ...] | None = None


class BadTransfer(Exception):
    """The transfer is not the whole of the dump; the sentence says why."""


def fetch(url: str, path: Path, day_ist: str) -> Fetched:
    """Download and parse the dump, write the list beside `path`. Raises the errors of requests and
    SQLite, BadTransfer, and ValueError when it is no dump."""
    # A byte that is no UTF-8 costs its field or row, which is not printable then.
    rows = parse_dump(
        download(f"{url.rstrip('/')}/instruments").decode("utf-8", "surrogateescape").strip()
    )
    offered = instruments_db.offered_path(path)
    facts = instruments_db.write(offered, rows, day_ist)
    left_out = dict(rows.left_out)
    double = rows.given - facts.rows
    if double:
        left_out["a name that comes twice"] = double
    try:
        losses = tuple(instruments_db.losses(path, offered, day_ist))
    except (FileNotFoundError, ListDamaged):
        losses = None
    return Fetched(facts.rows, facts.digest, left_out, losses)


def download(url: str) -> bytes:
    """Return the whole dump, unzipped. The end of a transfer shows by its length, by chunks or by
    gzip's trailer; a transfer without any of these has to be the same twice."""
    body, has_end = _get(url)
    if has_end:
        return body
    if not body.endswith(b"\n"):
        raise BadTransfer(f"the transfer was cut inside a row, after {len(body):,} bytes")
    if _get(url)[0] != body:
        raise BadTransfer("a transfer without a length was not the same twice")
    return body


def _get(url: str) -> tuple[bytes, bool]:
    """Return the body, and whether its end was marked."""
    headers = {"X-Kite-Version": "3", "Accept-Encoding": "gzip"}
    with (
        KiteHttp() as http,
        http.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response,
    ):
        if response.status_code != HTTPStatus.OK:
            raise BadTransfer(f"Kite answered {response.status_code} {response.reason or ''}")
        parts, size = [], 0
        try:
            for part in response.raw.stream(_PART_BYTES, decode_content=False):
                parts.append(part)
                size += len(part)
                _limit(size)
        except HTTPError as error:
            raise BadTransfer(f"the transfer was cut after {size:,} bytes ({error})") from None
        has_length = "Content-Length" in response.headers or response.raw.chunked
    body = b"".join(parts)
    # Judged by the bytes themselves: servers in between zip and unzip, and forget to say so.
    return (_unzipped(body), True) if body.startswith(_GZIP) else (body, has_length)


def _unzipped(body: bytes) -> bytes:
    """Unzip all members of a gzip file."""
    text = b""
    while body.startswith(_GZIP):
        unzip = zlib.decompressobj(_GZIP_ONLY)
        try:
            text += unzip.decompress(body, BYTES_MAX - len(text) + 1)
        except zlib.error as error:
            raise BadTransfer(f"the transfer is damaged ({error})") from None
        _limit(len(text))
        if not unzip.eof:
            raise BadTransfer(
                f"the transfer was cut: its gzip ends early, after {len(text):,} bytes"
            )
        body = unzip.unused_data
    return text


def _limit(size: int) -> None:
    if size > BYTES_MAX:
        raise BadTransfer(f"more than {BYTES_MAX:,} bytes came: this is no instrument dump")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="kitefeed.actors.rest_poller.dump")
    parser.add_argument("--url", required=True)
    parser.add_argument("--list", required=True, type=Path)
    parser.add_argument("--day", required=True)
    options = parser.parse_args(arguments)
    try:
        fetched = fetch(options.url, options.list, options.day)
    except Exception as error:  # noqa: BLE001 - the parent tries again and says why
        is_ours = isinstance(error, BadTransfer | ValueError)
        sys.stderr.write((str(error) if is_ours else describe(error)) + "\n")
        return Exit.TRY_LATER
    sys.stdout.write(msgspec.json.encode(fetched).decode() + "\n")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
