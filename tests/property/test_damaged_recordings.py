"""Recordings that something has damaged: what can be read is read, the rest is named, and nothing
is made up."""

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from kitefeed import BadInput, Recording, Tick
from kitefeed.cli.commands.export import export
from kitefeed.cli.commands.verify import page, verify
from kitefeed.cli.main import main
from kitefeed.cli.replay.machine import Replay
from kitefeed.cli.replay.market import recorded_market
from kitefeed.client.coverage import Coverage
from kitefeed.client.player import Player
from kitefeed.client.segments import Follower
from kitefeed.protocol import recording as r
from kitefeed.protocol.recording import Codec
from tests.recordings import DAY, INFY, NIFTY, NINE_FIFTEEN, S, Writes, put, segment

T0 = NINE_FIFTEEN
HOUR = 2_700 * S  # from 09:15 to 10:00


def hours(codec: int = Codec.NONE) -> list[list[bytes]]:
    """Two segments of one day, of three blocks each."""
    feed, found = Writes(), []
    for begin_ns in (T0, T0 + HOUR):
        blocks = []
        for n in range(3):
            at_ns = begin_ns + n * S
            prices = {INFY: 1500_00 + n, NIFTY: 24_000_00 - n}
            blocks.append([(at_ns, feed.heartbeat(at_ns)), (at_ns, feed.chunk(at_ns, prices))])
        found.append(segment(blocks, started_ns=begin_ns, codec=codec))
    return found


def fact(tick: Tick) -> tuple[object, ...]:
    return tick.instrument, tick.gen, tick.seq, tick.raw, tick.t_rx_ns


def whole(root: Path, codec: int = Codec.NONE) -> list[tuple[object, ...]]:
    first, second = hours(codec)
    put(root, first)
    put(root, second, T0 + HOUR)
    ticks = [fact(tick) for tick in Recording(DAY, dir=root)]
    assert len(ticks) == 12
    return ticks


def read(root: Path) -> tuple[list[tuple[object, ...]], Recording | None]:
    """Return what `Recording` gives; None where it says that nothing can be read."""
    try:
        recording = Recording(DAY, dir=root)
    except BadInput as error:
        if "can be read" not in str(error):
            raise
        return [], None
    return [fact(tick) for tick in recording], recording


def read_by_others(root: Path) -> None:
    """None of them raises anything but BadInput."""
    list(Follower(root, DAY).records())
    with contextlib.suppress(BadInput):
        market = recorded_market(DAY, None, str(root), None)
        while market.due_ns(0) is not None:
            list(market.play(0))
        recording = Recording(DAY, dir=root)
        list(recording.bars("1m"))
        assert 0 <= recording.progress <= 1
        assert len(recording.instruments) <= 2
        assert len(list(page(recording, covered(recording), [], ""))) > 5
        replay = Replay(T0, 0, DAY, None, None, ())
        for record in recording.records():
            replay.play(record, 0, T0)


def covered(recording: Recording) -> Coverage:
    made = Coverage(Player(*recording.wanted))
    made.read(recording.records())
    return made


def check(root: Path, ticks: list[tuple[object, ...]]) -> None:
    """Those that come are of these, in order; that some do not come is said."""
    found, recording = read(root)
    assert found == [tick for tick in ticks if tick in found]
    if found != ticks and recording is not None:
        assert recording.damage != []


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.ZLIB])
def test_a_file_may_end_at_any_byte(tmp_path: Path, codec: Codec) -> None:
    ticks = whole(tmp_path, codec)
    parts = hours(codec)[0]
    path = put(tmp_path, parts)
    data, before = path.read_bytes(), -1
    for end in range(0, len(data), 1 if codec else 5):
        path.write_bytes(data[:end])
        found, recording = read(tmp_path)
        # Each block that is whole is read: a header, then two ticks in each.
        blocks = sum(end >= sum(map(len, parts[: n + 1])) for n in range(1, 4))
        assert found == ticks[: 2 * blocks] + ticks[6:]
        assert recording is not None
        assert recording.damage != []
        assert blocks >= before
        before = blocks


def test_any_byte_may_be_another(tmp_path: Path) -> None:
    ticks = whole(tmp_path)
    path = put(tmp_path, hours()[0])
    data, dice = path.read_bytes(), random.Random(1)
    for at in range(0, len(data), 3):
        odd = bytearray(data)
        odd[at] ^= 1 << dice.randrange(8)
        path.write_bytes(odd)
        check(tmp_path, ticks)
        assert len(read(tmp_path)[0]) >= 6  # one block at most, or the file


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.integers(0, 3_000), st.integers(0, 300), st.binary(max_size=40)
        ),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_anything_may_have_been_written_over_left_out_or_put_in(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int, int, bytes]]
) -> None:
    root = tmp_path_factory.mktemp("rec")
    ticks = whole(root)
    paths = sorted((root / DAY).iterdir())
    for number, at, gone, put_in in changes:
        data = paths[number].read_bytes()
        paths[number].write_bytes(data[:at] + put_in + data[at + gone :])
    check(root, ticks)
    read_by_others(root)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def zero_end(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(4_096))


def another_version(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[9] = 2
    path.write_bytes(data)


def another_day(path: Path) -> None:
    feed = Writes()
    blocks = [[(T0 - 86_400 * S, feed.chunk(T0 - 86_400 * S, {INFY: 1}))]]
    path.write_bytes(b"".join(segment(blocks, day="2026-11-29", started_ns=T0 - 86_400 * S)))


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def nobodys_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


KINDS: list[tuple[Callable[[Path], object], str]] = [
    (zeros, "it is no recording of kitefeed"),
    (lambda path: path.write_bytes(b""), "it is empty"),
    (another_version, "its format is version 2"),
    (another_day, "it is of 2026-11-29, not of 2026-11-30"),
    (directory, "directory"),
    (nobodys_link, "No such file"),
]


@pytest.mark.parametrize(("damage", "why"), KINDS)
def test_a_file_that_is_none_is_named_and_the_others_are_read(
    tmp_path: Path, damage: Callable[[Path], object], why: str
) -> None:
    ticks = whole(tmp_path)
    path = put(tmp_path, hours()[0])
    damage(path)
    found, recording = read(tmp_path)
    read_by_others(tmp_path)
    assert recording is not None
    assert found == ticks[6:]
    (named,) = recording.damage
    assert named.startswith(f"{path}: ")
    assert why in named


def test_a_file_that_ends_in_zeros_is_read_up_to_them(tmp_path: Path) -> None:
    ticks = whole(tmp_path)
    path = put(tmp_path, hours()[0])
    zero_end(path)
    found, recording = read(tmp_path)
    assert recording is not None
    assert found[-6:] == ticks[6:]
    assert found[:2] == ticks[:2]
    assert len(found) < len(ticks)
    assert any("no block begins here" in text or "checksum" in text for text in recording.damage)
    (gap,) = [gap for gap in recording.gaps if gap.reason == "damaged"]
    assert gap.to_ns == T0 + HOUR


def test_an_unsealed_copy_beside_the_file_gives_no_tick_twice(tmp_path: Path) -> None:
    ticks = whole(tmp_path)
    data = put(tmp_path, hours()[0]).read_bytes()
    for n in (1, 2):
        copy = tmp_path / DAY / f"091500-00{n}.kfrec"
        copy.write_bytes(data[: -40 * n])
    found, _ = read(tmp_path)
    assert found == ticks


def test_what_the_commands_say_of_it(tmp_path: Path) -> None:
    whole(tmp_path)
    path = put(tmp_path, hours()[0])
    another_version(path)
    where = ["--dir", str(tmp_path)]
    page = CliRunner().invoke(verify, [DAY, "--no-candles", *where])
    assert page.exit_code == 0
    assert f"  {path}: its format is version 2" in page.output
    out = tmp_path / "out"
    made = CliRunner().invoke(export, [DAY, "--format", "csv", "--to", str(out), *where])
    assert made.exit_code == 0
    assert f"left out, because it is damaged: {path}: its format" in made.stderr
    assert made.stdout.startswith("6 ticks, ")


@pytest.mark.parametrize("words", [["verify"], ["export", "--format", "csv"], ["replay"]])
def test_a_day_of_which_nothing_can_be_read_is_bad_input(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path, [b"no", b"thing"])
    assert main([words[0], DAY, "--dir", str(tmp_path), *words[1:]]) == 65
    assert f"Nothing of {DAY} can be read; {path}: it is no recording" in capsys.readouterr().err
    path.unlink()
    assert main([words[0], DAY, "--dir", str(tmp_path), *words[1:]]) == 65
    assert f"Nothing is recorded of {DAY}" in capsys.readouterr().err
    assert r.SEGMENT_NAME.match(path.name)
