"""Writes the table: to build/benchmarks, and to docs/PERFORMANCE.md when it is told to."""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks import measure, subject, table
from benchmarks.parts import Failure
from benchmarks.table import Row

OUT = measure.ROOT / "build" / "benchmarks"
DOCS = measure.ROOT / "docs" / "PERFORMANCE.md"
BEGIN, END = "<!-- make bench: from here -->\n", "<!-- make bench: to here -->\n"


def facts(arguments: Sequence[str]) -> list[str]:
    """Return what every figure has to say: command, commit, when, machine, what else it did."""
    return [
        f"command: `python -m benchmarks {shlex.join(arguments)}`",
        f"commit: {measure.commit()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"machine: {measure.machine()}",
        f"kitefeed's loops: {subject.BUILD}, but where a row says otherwise",
        f"load average at the start: {measure.load()}",
    ]


def save(rows: Sequence[Row], facts: Sequence[str], failures: Sequence[Failure]) -> Path:
    """As Markdown, JSON and, if there were any, everything that is known of failures."""
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{measure.commit()}.md"
    path.write_text(table.markdown(rows, _with(facts, failures)))
    encoded = msgspec.json.encode({"facts": facts, "rows": rows})
    path.with_suffix(".json").write_bytes(msgspec.json.format(encoded))
    if failures:
        texts = [f"{failure.where}\n{failure.text}\n" for failure in failures]
        path.with_suffix(".failures.txt").write_text("\n".join(texts))
    return path


def insert(rows: Sequence[Row], facts: Sequence[str], page: Path = DOCS) -> None:
    """Replaces what stands between the two marks of the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{page} has no place for the table: {BEGIN.strip()} ... {END.strip()}")
    page.write_text(f"{before}{BEGIN}\n{table.markdown(rows, facts)}\n{END}{after}")


def _with(facts: Sequence[str], failures: Sequence[Failure]) -> list[str]:
    return [*facts, *(f"failed: {failure.line}" for failure in failures)]
