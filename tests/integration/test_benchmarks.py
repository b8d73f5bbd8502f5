"""`make bench` in small: its runs are real, and a run in which a tick is wrong fails."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import kiteconnectjs, peers
from benchmarks.asked import Asked
from benchmarks.clocks import tree
from benchmarks.frames import Builder, Plan, Shape, join
from benchmarks.measure import Figure
from benchmarks.parts import Context, decode, e2e, encode, fanout, grid, instructions, threads
from benchmarks.peers import ALL, BARE, EACH, OFFICIAL, PURE, Peer
from benchmarks.processes import Daemon
from benchmarks.stage import Result, Stage, Way, WrongTick
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

SHAPE = Shape("mixed", 10, 8, 800)
NOTHING = Asked()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(60) as stage:
        yield stage


@pytest.fixture(scope="module")
def daemon(stage: Stage) -> Daemon:
    return stage.daemon("main", stage.universe)


def context(stage: Stage, daemon: Daemon, *others: Peer, asked: Asked = NOTHING) -> Context:
    """One repetition of the official client and one reader of ours; `others` are the first."""
    made = Context(stage, [*others, OFFICIAL, ALL], 1, asked, say=lambda _: None)
    made.use(daemon)
    return made


PYTHON = [peer for peer in peers.KNOWN.values() if not peer.hands_over]


@pytest.mark.parametrize("peer", PYTHON, ids=lambda peer: peer.key)
def test_every_reader_gets_every_tick_as_it_was_sent(
    stage: Stage, daemon: Daemon, peer: Peer
) -> None:
    result = stage.run(peer, SHAPE, stage.universe, daemon if peer.is_ours else None)
    assert result.verdict.is_complete, result.verdict
    assert result.verdict.received == SHAPE.ticks
    assert 0 < result.reader <= result.cpu
    assert 0 < result.p50_ms <= result.p99_ms


def test_over_tls_every_reader_gets_every_tick_as_it_was_sent(stage: Stage) -> None:
    """Kite's socket is wss. Both builds: the daemon is the one with the loops in Python."""
    daemon = stage.daemon("tls", stage.universe, Way(is_pure=True, scheme="wss"))
    try:
        environment = Path(f"/proc/{daemon.pids()['ticker']}/environ").read_bytes()
        assert b"KITEFEED_PURE=1" in environment.split(b"\0")
        for peer in (OFFICIAL, PURE[ALL], BARE):
            ours = daemon if peer.is_ours else None
            result = stage.run(peer, SHAPE, stage.universe, ours, scheme="wss")
            assert result.verdict.is_complete, (peer.key, result.verdict)
    finally:
        daemon.stop()


def run_against_another_plan(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, other: Path
) -> Result:
    """A run whose reader compares with `other` instead of what was sent."""
    spec = stage.spec
    told: Any = lambda *args: {**spec(*args), "plan": str(other)}  # noqa: E731
    monkeypatch.setattr(stage, "spec", told)
    return stage.run(EACH, SHAPE, stage.universe, daemon)


def next_plan(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of the next run, known beforehand."""
    plan = stage.builder.plan(SHAPE, stage.universe)
    monkeypatch.setattr(stage.builder, "plan", lambda *_: plan)
    return plan


def test_a_run_with_one_altered_byte_fails(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = next_plan(stage, monkeypatch)
    frame = plan.frames[3]
    altered = [*plan.frames[:3], frame[:40] + bytes([frame[40] ^ 1]) + frame[41:], *plan.frames[4:]]
    Plan(plan.first_price, altered, plan.due_ns).save(tmp_path / "altered")
    with pytest.raises(WrongTick, match="altered=1"):
        run_against_another_plan(stage, daemon, monkeypatch, tmp_path / "altered")


def planned_with_one_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, path: Path, number: int
) -> None:
    """A plan to compare with that holds one packet more than is sent, of frame `number`."""
    plan = next_plan(stage, monkeypatch)
    token = stage.universe.tradables[0].token
    packet = Builder().packet("ltp", token, plan.first_price + number)
    Plan(plan.first_price, [*plan.frames, join([packet])], [*plan.due_ns, 0]).save(path)


def test_a_last_tick_that_does_not_come_is_counted_as_lost(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned_with_one_more(stage, monkeypatch, tmp_path / "longer", SHAPE.frames)
    result = run_against_another_plan(stage, daemon, monkeypatch, tmp_path / "longer")
    assert result.verdict.lost == 1


@pytest.mark.parametrize("peer", [ALL, OFFICIAL], ids=lambda peer: peer.key)
def test_a_reader_that_waits_for_more_hears_only_silence(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, peer: Peer
) -> None:
    """As one that has lost some does: what keeps the feed alive between runs must not reach it."""
    spec = stage.spec
    more: Any = lambda *args: {**spec(*args), "ticks": SHAPE.ticks + 5}  # noqa: E731
    monkeypatch.setattr(stage, "spec", more)
    result = stage.run(peer, SHAPE, stage.universe, daemon if peer.is_ours else None)
    assert result.verdict.is_complete, result.verdict


def test_a_run_fails_whose_reader_does_not_know_of_a_lost_tick(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned_with_one_more(stage, monkeypatch, tmp_path / "earlier", -1)
    with pytest.raises(WrongTick, match="misreported=1"):
        run_against_another_plan(stage, daemon, monkeypatch, tmp_path / "earlier")


def test_the_decoders_are_timed_and_compared(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "SAMPLE_NS", 1_000_000)
    rows = decode.measure(context(stage, daemon, asked=Asked(frame=10, mix="mixed")))
    assert len(rows) == 4
    assert all(row.better is not None for row in rows)
    assert all(row.ours is not None and min(row.ours.values) > 0 for row in rows)


def test_the_encoders_are_timed_and_read_back(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "SAMPLE_NS", 1_000_000)
    asked = context(stage, daemon, asked=Asked(frame=300, mix="full:2,ltp:1"))
    rows = encode.measure(asked)
    assert not asked.failures
    assert len(rows) == 3
    assert all(row.better is not None for row in rows)


def test_every_thread_that_carries_ticks_is_on_the_bill(stage: Stage, daemon: Daemon) -> None:
    asked = context(stage, daemon, asked=Asked(rate=3_000, frame=10, seconds=0.2))
    rows = threads.measure(asked)
    assert not asked.failures
    told = {row.what.removeprefix(f"{ALL.title}: ") for row in rows}
    wanted = {f"{process}, main" for process in ("ticker", "broadcaster", "reader")}
    assert wanted <= told
    assert {"ticker, libzmq", "broadcaster, libzmq"} <= told


def is_running(pid: int) -> bool:
    """One that has ended has no command line any more, even where nobody collects it."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


def test_the_bare_chain_ends_with_its_reader_even_when_that_is_killed(stage: Stage) -> None:
    plan = stage.builder.plan(SHAPE, stage.universe)
    with stage.reader(peers.BARE) as reader:
        reader.tell(stage.spec(peers.BARE, plan, stage.universe))
        reader.hear(30)
        started = tree(reader.pid)[1:]
        assert len(started) == 2
        reader.process.kill()
        eventually(lambda: not any(map(is_running, started)), 5)


def test_the_grid_tells_of_each_cell_how_many_times_better_ours_is(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "SIZES", (1, 11))
    said: list[str] = []
    asked = context(stage, daemon, asked=Asked(rate=500, mix="mixed", seconds=0.1))
    asked.say = said.append
    rows = grid.measure(asked)
    assert not asked.failures
    cells = [f"mixed, {size} a frame, 500/s: everything" for size in grid.SIZES]
    for metric in ("CPU", "p50", "p99"):
        found = {row.what: row for row in rows if row.part == f"grid, {metric}"}
        assert list(found) == [f"{metric}, {cell}" for cell in cells]
        assert all(row.better is not None for row in found.values())
    assert [row.ours for row in rows if row.part == "grid, lost"] == [Figure([0.0])] * len(cells)
    assert [
        line for line in said if line.startswith("2/2 mixed, 11 a frame, 500/s: everything: CPU")
    ]


def test_the_fan_out_tells_what_a_further_program_costs(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "SUBSCRIBERS", (1, fanout.BY_ADDED))
    asked = context(stage, daemon, asked=Asked(rate=500, frame=10, seconds=0.2))
    rows = fanout.measure(asked)
    assert not asked.failures
    further = {row.what: row for row in rows if row.what.startswith("a further program")}
    assert list(further) == [
        f"a further program, {name}" for name in ("a message for each tick", "everything")
    ]
    assert all(row.better is not None for row in further.values())


# --- peers that fail ----------------------------------------------------------------------------

LIAR = r"""
import json, socket, sys
given = json.loads(sys.stdin.readline())
{before}
host, port = given["address"].split(":")
ws = socket.create_connection((host, int(port)))
ws.sendall(f"GET /?api_key={{given['key']}} HTTP/1.1\r\nUpgrade: websocket\r\n"
           "Sec-WebSocket-Key: x\r\n\r\n".encode())
ws.recv(100_000)
text = json.dumps({{"a": "subscribe", "v": given["tokens"]}}).encode()
ws.sendall(bytes((0x81, 0x80 | 126)) + len(text).to_bytes(2, "big") + bytes(4) + text)
ws.recv(100_000)
print(json.dumps({{"ready": True}}), flush=True)
{after}
"""
DIES = "ws.recv(100_000); sys.exit('Error: it has had enough')"
INVENTS = """
ws.recv(100_000)
print(json.dumps({"end": True}), flush=True)
told = json.loads(sys.stdin.readline())
tick = {"instrument_token": given["tokens"][0], "last_price": given["first_price"] / 100}
line = json.dumps({"at_ns": 1, "ticks": [tick]})
open(told["ticks"], "w").write(line)
print(json.dumps({"written": True}), flush=True)
"""


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        ("raise OSError('no licence')", "", "no licence"),
        ("", DIES, "it has had enough"),
        ("", INVENTS, "strange=1"),
    ],
    ids=["it does not start", "it dies in a run", "it makes ticks up"],
)
def test_a_peer_that_fails_is_one_line_and_the_rest_goes_on(
    stage: Stage, daemon: Daemon, tmp_path: Path, before: str, after: str, cause: str
) -> None:
    program = tmp_path / "liar.py"
    program.write_text(LIAR.format(before=before, after=after))
    liar = peers.other(f"liar={sys.executable} {program}")
    asked = context(stage, daemon, liar, asked=Asked(rate=2_000, frame=5, seconds=0.1))
    rows = e2e.measure(asked)
    assert [failure.is_ours for failure in asked.failures] == [False]
    assert cause in asked.failures[0].line
    cpu = next(row for row in rows if row.unit == "us/tick")
    assert cpu.better is not None
    assert not asked.lost


def test_a_program_that_is_not_there_is_one_line_too(stage: Stage, daemon: Daemon) -> None:
    gone = peers.other("gone=/nowhere/reader")
    asked = context(stage, daemon, gone, asked=Asked(rate=2_000, frame=5, seconds=0.1))
    assert e2e.measure(asked)
    assert "/nowhere/reader" in asked.failures[0].line


def test_without_node_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kiteconnectjs.why_not() == "node and npm are not installed"


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")
def test_without_a_registry_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_fetch_retry_mintimeout", "1")
    monkeypatch.setattr(kiteconnectjs, "DIRECTORY", tmp_path)
    assert kiteconnectjs.why_not().startswith("npm could not install kiteconnect@")


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["everything"], "decode"),
        (["e2e", "--mix", "tick:2"], "index-quote"),
        (["e2e", "--mix", "index", "--frame", "101"], "100"),
        (["e2e", "--peers", "nobody"], "pykiteconnect"),
        (["e2e", "--peer", "all=true"], "NAME=COMMAND"),
    ],
)
def test_a_wrong_option_is_refused_with_what_there_is(options: list[str], says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert says in done.stderr


def test_of_two_runs_that_are_counted_none_finds_what_the_other_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that compiles a module beside one that reads it: 2,000 instructions a packet."""
    valgrind, compiled, frame = tmp_path / "valgrind", tmp_path / "compiled", tmp_path / "frame"
    valgrind.write_text('#!/bin/sh\nshift 2\necho "Collected : 1" >&2\nexec "$@"\n')
    valgrind.chmod(0o755)
    frame.write_bytes(decode.frame_of(instructions.BASE._replace(frames=1)))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(compiled))  # as if nothing had ever been run
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    run = instructions.Run("steps", "ticker", is_pure=True)
    assert instructions._counted(run, frame, 2) == 1
    assert not compiled.exists()
