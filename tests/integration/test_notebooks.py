"""The notebooks of `examples/`, run from top to bottom as they stand but for their parameters."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from kitefeed.protocol.feed import Source
from kitefeed.protocol.recording import Gap
from tests.integration.rig import Rig
from tests.recordings import DAY, INFY, NINE_FIFTEEN, S, Writes, put, segment

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, parameters: str, environment: dict[str, str] | None = None) -> str:
    """Everything that the cells printed or showed as text."""
    notebook: Any = nbformat.read(EXAMPLES / name, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    (cell,) = [each for each in notebook.cells if "parameters" in each.metadata.get("tags", [])]
    cell.source += f"\n{parameters}"
    client = NotebookClient(notebook, timeout=120, kernel_name="python3")
    client.execute(env={**os.environ, **(environment or {})})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [each.get("text", "") + each.get("data", {}).get("text/plain", "") for each in outputs]
    return "\n".join(shown)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two hours: of ticks, of polled prices from 10:15 to 10:30, and of nothing for a minute."""
    directory = tmp_path_factory.mktemp("recordings")
    feed = Writes()
    blocks: list[list[tuple[int, Any]]] = []
    for n in range(0, 7_200, 3):
        at_ns = NINE_FIFTEEN + n * S
        feed.exchange_s = at_ns // S
        is_polled = 3_600 <= n < 4_500
        feed.source = Source.REST if is_polled else Source.WEBSOCKET
        feed.epoch = 3 + (n >= 3_600) + (n >= 4_500)
        frames: list[tuple[int, Any]] = [(at_ns, feed.heartbeat(at_ns))]
        if 5_400 <= n < 5_460:
            frames = [(at_ns, Gap(at_ns, at_ns + 60 * S, "lost"))] if n == 5_400 else []
        else:
            price = 1_500_00 + (n * 7 % 400) + n // 30
            frames.append((at_ns + 5, feed.chunk(at_ns + 5, {INFY: price})))
        blocks += [frames] if frames else []
    put(directory, segment(blocks))
    return directory


def test_first_look_reads_a_live_feed_and_ten_more_in_one_kernel() -> None:
    with Rig() as rig:
        rig.start()
        shown = run("first_look.ipynb", "", rig.env)
    assert "live by websocket" in shown
    assert "complete" in shown
    assert "ten feeds later: NSE:INFY" in shown


def test_a_recorded_day_is_plotted_with_what_is_missing(recorded: Path) -> None:
    shown = run(
        "recorded_day.ipynb", f"DAY, INTERVAL, DIRECTORY = {DAY!r}, '1m', {str(recorded)!r}"
    )
    assert "rest" in shown
    assert "10:45:00, 60 s: lost" in shown
    assert "Figure" in shown


def test_a_back_test_refuses_minutes_that_were_polled(recorded: Path) -> None:
    shown = run("backtest.ipynb", f"DAY, DIRECTORY = {DAY!r}, {str(recorded)!r}")
    assert "'rest': 15" in shown
    assert "'gap':" in shown
    assert "out: the data is not whole" in shown
