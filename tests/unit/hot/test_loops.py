"""Tests what the compiled loops owe the process that they run in, whatever they are given. That
they give the same as their twins is in `tests/property/test_twins.py`."""

import gc
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from kitefeed._hot import IS_COMPILED
from kitefeed.protocol.kite.repack import repack_in_python
from kitefeed.protocol.kite.ticks import frame_of_packets
from tests.fuzz import LOOPS, ORIGIN, WRITER, WRITER_GEN, Batch, Reading, ticks_of

if IS_COMPILED:
    from kitefeed._hot import loops


ROOT = Path(__file__).parents[3]


def plain_body() -> bytes:
    return repack_in_python(frame_of_packets([bytes(7) + b"\1"] * 45)).bodies[0]


pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="the extension is not here")


def test_what_is_of_another_type_is_refused() -> None:
    for other in (None, 1, "text", bytearray(8), memoryview(b"1234"), [b""]):
        with pytest.raises(TypeError):
            loops.repack(other)  # type: ignore[arg-type]


def intake_of(topics: dict[bytes, Any], arrived: deque[Any]) -> "loops.Intake":
    admitted = ("arrival", False)
    return loops.Intake(topics, arrived, tuple_of, msgspec.Raw, lambda *_: admitted)


def tuple_of(*given: object) -> tuple[object, ...]:
    return given


TICK = WRITER.one(b"tick/NSE:X", 8, 16, plain_body())
MOMENT: tuple[int, ...] = (5, 6, WRITER_GEN, 0)


def test_what_is_no_message_of_the_next_tick_of_a_known_topic_is_left_alone() -> None:
    topic, arrived = loops.Topic("NSE:X", True), deque[Any]()
    topic.seq = 7
    intake = intake_of({b"tick/NSE:X": topic}, arrived)
    for end in range(len(TICK)):
        assert intake.take(None, TICK[:end], *MOMENT) == -1
    for other in (b"", b"\0", TICK + b"\0", b"ticks/all\0" + TICK[11:], b"tick/NSE:Y" + TICK[10:]):
        assert intake.take(None, other, *MOMENT) == -1
    for now_ns, gen, losses in (
        (2**70, WRITER_GEN, 0),
        (5, 1, 0),
        (5, -(2**70), 0),
        (5, WRITER_GEN, None),
    ):
        assert intake.take(None, TICK, now_ns, 6, gen, losses) == -1  # type: ignore[arg-type]
    for seq in (6, 8, -1, 2**63 - 1, 2**70, None, "7"):
        topic.seq = seq
        assert intake.take(None, TICK, *MOMENT) == -1
    assert (topic.arrival, topic.value_seq, topic.body, [*arrived]) == (None, 0, b"", [])
    topic.seq = 7
    assert intake.take(None, TICK, *MOMENT) == 1
    assert [*arrived] == [("NSE:X", plain_body(), 8, 16, "arrival")]
    assert (topic.seq, topic.value_seq, topic.flags, topic.body) == (8, 8, 16, plain_body())
    del topic.seq
    assert intake.take(None, TICK, *MOMENT) == -1


def test_what_takes_messages_in_refuses_what_is_of_another_type() -> None:
    good: list[Any] = [{}, deque(), tuple_of, msgspec.Raw, tuple_of]
    for place, other in ((0, []), (0, None), (1, None)):
        with pytest.raises((TypeError, AttributeError)):
            loops.Intake(*good[:place], other, *good[place + 1 :])
    for arguments in ((), ("X",), (b"X", True), (1, True)):
        with pytest.raises(TypeError):
            loops.Topic(*arguments)
    topic = loops.Topic("NSE:X", True)
    for attribute in ("key", "is_wanted"):
        with pytest.raises(AttributeError):
            setattr(topic, attribute, topic)
    intake = intake_of({}, deque())
    for frame in (None, "text", bytearray(TICK)):
        with pytest.raises(TypeError):
            intake.take(None, frame, *MOMENT)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        intake.take(None, TICK)  # type: ignore[call-arg]
    assert intake_of({b"tick/NSE:X": object()}, deque()).take(None, TICK, *MOMENT) == -1


@pytest.mark.parametrize("admit", [lambda *_: None, lambda *_: (1,), lambda *_: 1 / 0])
def test_a_message_that_is_not_admitted_changes_nothing(admit: Callable[..., Any]) -> None:
    topic, arrived = loops.Topic("NSE:X", True), deque[Any]()
    topic.seq = 7
    intake = loops.Intake({b"tick/NSE:X": topic}, arrived, tuple_of, msgspec.Raw, admit)
    with pytest.raises((TypeError, ZeroDivisionError)):
        intake.take(None, TICK, *MOMENT)
    assert (topic.seq, topic.arrival, [*arrived]) == (7, None, [])


def test_what_takes_messages_in_is_collected_with_what_holds_it() -> None:
    class Holder:
        """Of an intake that holds it, too."""

    holder = Holder()
    topics: dict[bytes, Any] = {b"tick/NSE:X": holder}
    holder.intake = intake_of(topics, deque())  # type: ignore[attr-defined]
    gone = weakref.ref(holder)
    del holder, topics
    gc.collect()
    assert gone() is None


def test_columns_of_another_shape_are_refused() -> None:
    value = loops.Value(b"t\0", 1, None, 0, b"")
    good: list[Any] = [[value], [b"t"], [b"b"], [], None, b"", b"", b"", None, (), None]
    assert loops.keep(*good) == [b"t\0\0\0\0\2b"]
    wrong: list[tuple[int, Any, type[Exception]]] = [
        (0, (value,), TypeError), (0, [1], TypeError), (0, [], ValueError),
        (1, [], ValueError), (2, [b"", b""], ValueError), (3, [0, 0], ValueError),
        (3, [-1], OverflowError), (3, [2**70], OverflowError), (3, ["0"], TypeError),
        (5, None, TypeError), (7, "", TypeError), (8, [], TypeError), (9, [], TypeError),
    ]  # fmt: skip
    for place, other, error in wrong:
        with pytest.raises(error):
            loops.keep(*good[:place], other, *good[place + 1 :])
    with pytest.raises(TypeError):
        loops.keep(*good[:-1])  # type: ignore[call-arg]
    value.seq = 2**63 - 1
    with pytest.raises(OverflowError):
        loops.keep(*good)
    for arguments in ((), ("t", 1, None, 0, b""), (b"t", "1", None, 0, b"")):
        with pytest.raises(TypeError):
            loops.Value(*arguments)


@pytest.mark.parametrize("name", LOOPS)
def test_nothing_is_kept_of_what_was_taken(name: str) -> None:
    loop, random = LOOPS[name], Random(1)
    inputs = [loop.make(random) for _ in range(100)]

    def blocks() -> int:
        """Return how many blocks Python has in use after taking all inputs."""
        for given in inputs:
            loop.compiled(given)
        return sys.getallocatedblocks()

    for _ in range(3):
        blocks()
    before = blocks()
    for _ in range(20):
        after = blocks()
    assert after - before < len(inputs)  # one kept for each would be twenty times as many


@pytest.mark.parametrize("name", LOOPS)
def test_without_memory_it_says_so(name: str) -> None:
    """In a process of one thread: any other one would meet the want of memory as well."""
    pytest.importorskip("_testcapi")
    program = f"from tests.unit.hot import test_loops; test_loops.fail_each_allocation({name!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def fail_each_allocation(name: str) -> None:
    """Each in turn."""
    import _testcapi as testing

    random, failures = Random(2), 0
    for _ in range(100):
        call = alone(LOOPS[name].make(random))
        for nth in range(1, 40):
            testing.set_nomemory(nth, nth + 1)
            try:
                call()
            except MemoryError:
                failures += 1
            except (TypeError, OverflowError):
                pass  # of what was given
            finally:
                testing.remove_mem_hooks()
    assert failures > 100


def alone(given: bytes | Batch | Reading) -> Callable[[], object]:
    """The loop without the Python around it, which does not survive a want of memory as well."""
    if isinstance(given, bytes):
        return partial(loops.repack, given)
    if isinstance(given, Reading):
        return partial(take_all, given)
    values = [loops.Value(head, seq, ORIGIN, 0, b"") for head, seq in given.values]
    wanted = given.wanted
    head = None if wanted.chunk_seq is None else WRITER.chunk_head(wanted.chunk_seq)
    before, after = WRITER.before_seq, WRITER.after_seq(0)
    columns = ticks_of(values, given)
    return partial(
        loops.keep, *columns, ORIGIN, before, after, after, wanted.topics, wanted.prefixes, head
    )


def take_all(given: Reading) -> None:
    """Topics that are known, so that most of it is taken."""
    names = (b"ticks/all", *(b"tick/NSE:%d" % n for n in range(5)), b"last/1/NSE:L")
    intake = intake_of({name: loops.Topic("NSE:X", True) for name in names}, deque())
    for read in given.reads:
        intake.take(None, read.frame, read.now_ns, read.utc_ns, 1, 0)
