"""`kitefeed replay DATE`: a recorded day on a feed of its own."""

import asyncio
import logging
import os
from pathlib import Path

import click

from kitefeed.actors.runtime import descriptors, instruments_db
from kitefeed.actors.runtime.directories import prepare_directory
from kitefeed.actors.runtime.whole_file import write_atomically
from kitefeed.cli import signals
from kitefeed.client.recording import Recording
from kitefeed.protocol import location
from kitefeed.protocol.errors import BadInput
from kitefeed.protocol.kite.instruments import DumpRow
from kitefeed.protocol.kite.ticks import SEGMENT_INDICES
from kitefeed.protocol.recording import Described
from kitefeed.protocol.topology import IPC_PATH_BYTES_MAX, has_room

CONFIG = """\
# Written by `kitefeed replay`: programs that are given this file read the replay, and never Kite.
runtime_dir = "run"
state_dir = "state"
[gateway]
listen = ""
[kite_endpoint]
listen = "127.0.0.1:8789"
password = "any"
"""


class Speed(click.ParamType[float | str]):
    """A number, `max`, or `step`."""

    name = "speed"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        if value in ("max", "step"):
            return str(value)
        try:
            speed = float(str(value))
        except ValueError:
            speed = 0.0
        if not 0.01 <= speed <= 10_000:
            self.fail(f"{value!r} is none of: a number such as 1 or 10, max, step", param, ctx)
        return speed


@click.command()
@click.argument("date")
@click.argument("instruments", nargs=-1, metavar="[INSTRUMENT]...")
@click.option("--speed", type=Speed(), default="1", show_default=True, metavar="N|max|step",
              help="So many times as fast; as fast as it is read; by lines typed.")  # fmt: skip
@click.option("--from", "since", help="Begin at this time of the day, such as 09:15.")
@click.option("--until", help="End at this time of the day.")
@click.option("--dir", "recordings", type=click.Path(path_type=Path),
              help="Where recordings are; by default record.dir of the configuration.")  # fmt: skip
@click.option("--at", "directory", type=click.Path(path_type=Path),
              help="Where the replay has its sockets.  [~/.kitefeed/replay]")  # fmt: skip
@click.option("--readers", type=click.IntRange(0, 1_000), default=1, show_default=True,
              help="How many programs to wait for before it begins.")  # fmt: skip
@click.option("--exit", "ends", is_flag=True, help="End with the recording; else with Ctrl-C.")
def replay(
    date: str,
    instruments: tuple[str, ...],
    speed: float | str,
    since: str | None,
    until: str | None,
    recordings: Path | None,
    directory: Path | None,
    readers: int,
    ends: bool,
) -> None:
    """Play the recorded day DATE (2026-11-30) again, for any program that reads the feed.

    It is a feed of its own: nothing of it reaches a program that is not told to read it, and all of
    it says that it is a replay.
    """
    # Imported here: `--help` does without ZeroMQ.
    from kitefeed.cli.replay.process import Options, run

    recording = Recording(date, *instruments, dir=recordings, since=since, until=until)
    for line in recording.damage:
        click.echo(f"left out, because it is damaged: {line}", err=True)
    root = location.absolute(directory) if directory else location.home() / "replay"
    if not has_room(root / "run"):
        raise BadInput(
            f"{root} is too long for a socket ({IPC_PATH_BYTES_MAX} bytes with the file name); "
            "name a shorter directory with --at"
        )
    config = _prepared(root, recording)
    is_stepped = speed == "step"
    number = None if speed in ("max", "step") else float(speed)
    options = Options(number, is_stepped, readers, ends)
    os.umask(0o077)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    descriptors.raise_limit()
    signals.note_when_told_to_end()
    click.echo(f"Replay of {recording.date}; programs read it with KITEFEED_CONFIG={config}")
    click.echo("It begins when a program reads it." if readers else "It begins now.")
    asyncio.run(run(recording, root / "run", options))


def _prepared(root: Path, recording: Recording) -> Path:
    for directory in (root, root / "run", root / "state"):
        prepare_directory(directory)
    listed = [_instrument(each) for each in recording.instruments]
    if listed:  # `kite_endpoint` looks up tokens there
        instruments_db.write(root / "state" / location.LIST_NAME, listed, recording.date)
    config = root / location.CONFIG_NAME
    write_atomically(config, CONFIG.encode())
    return config


def _instrument(found: Described) -> DumpRow:
    exchange, _, symbol = found.key.partition(":")
    segment = "INDICES" if found.segment == SEGMENT_INDICES else exchange
    return DumpRow(
        found.token, found.token >> 8, symbol, found.name, 0.0, found.expiry, found.strike,
        found.tick_size, found.lot_size, found.kind, segment, exchange,
    )  # fmt: skip
