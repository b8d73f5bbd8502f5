"""`kitefeed export DATE`: a recorded day as files for other programs."""

import sys
from pathlib import Path

import click

from kitefeed.cli import signals
from kitefeed.client.recording import Recording
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import TryLater, Unavailable

TELL_NS = 200_000_000
WIDTH = 40


@click.command()
@click.argument("date")
@click.argument("instruments", nargs=-1, metavar="[INSTRUMENT]...")
@click.option("--format", "kind", type=click.Choice(["parquet", "csv"]), default="parquet",
              show_default=True, help="Needs `pip install 'kitefeed[record]'`.")  # fmt: skip
@click.option("--to", "directory", type=click.Path(path_type=Path), default=Path("export"),
              show_default=True, help="The directory that gets the files.")  # fmt: skip
@click.option("--dir", "recordings", type=click.Path(path_type=Path),
              help="Where recordings are; by default record.dir of the configuration.")  # fmt: skip
@click.option("--from", "since", help="From this time of the day on, such as 09:15.")
@click.option("--until", help="Up to this time of the day.")
@click.option("--rupees", is_flag=True, help="Prices in rupees, not as whole numbers and divisor.")
@click.option("--replace", is_flag=True, help="Replace files that are there.")
def export(
    date: str,
    instruments: tuple[str, ...],
    kind: str,
    directory: Path,
    recordings: Path | None,
    since: str | None,
    until: str | None,
    rupees: bool,
    replace: bool,
) -> None:
    """Write the recorded ticks of DATE (2026-11-30) as Parquet or CSV, with what was missed.

    An export that is interrupted leaves nothing behind.
    """
    # Imported here: needs packages that not everybody has.
    from kitefeed.client import export as exports

    recording = Recording(date, *instruments, dir=recordings, since=since, until=until)
    write = exports.to_parquet if kind == "parquet" else exports.to_csv
    progress = Progress()
    progress.show("looking for damage")
    damage = recording.damage
    progress.end()
    for line in damage:
        click.echo(f"left out, because it is damaged: {line}", err=True)
    signals.note_when_told_to_end()
    try:
        files = write(recording, directory, rupees=rupees, replace=replace, progress=progress.tell)
    except ImportError as error:
        raise Unavailable(str(error)) from None
    except OSError as error:
        raise TryLater(
            f"{directory} cannot be written ({error.strerror or error}): make room there or "
            "correct its mode; nothing was left behind"
        ) from None
    finally:
        progress.end()
    size = sum(path.stat().st_size for path in files)
    click.echo(f"{progress.ticks:,} ticks, {size / 1e6:,.1f} MB in {len(files)} files:")
    for path in files:
        click.echo(path)


class Progress:
    """One line on the terminal, written over; nothing into a file or pipe. Signals end it here."""

    def __init__(self) -> None:
        self.ticks = 0
        self._is_shown = sys.stderr.isatty()
        self._due_ns = 0

    def tell(self, part: float, ticks: int) -> None:
        """part: of the recording, that was read. The rest of the work has no measure."""
        self.ticks = ticks
        signals.end_if_told()
        if boot_ns() >= self._due_ns:
            words = "sorting and writing" if part >= 1 else f"{part:.0%} read "
            self.show(f"{words} {ticks:,} ticks")

    def show(self, words: str) -> None:
        if self._is_shown:
            self._due_ns = boot_ns() + TELL_NS
            click.echo(f"\r{words:<{WIDTH}}", nl=False, err=True)

    def end(self) -> None:
        if self._is_shown and self._due_ns:
            click.echo("\r" + " " * WIDTH + "\r", nl=False, err=True)
            self._due_ns = 0
