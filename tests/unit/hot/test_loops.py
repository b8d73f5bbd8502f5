"""What the compiled loops owe the process that they run in, whatever they are given. That they give
the same as their twins is in `tests/property/test_twins.py`."""

import sys
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest

from kitefeed._hot import IS_COMPILED
from tests.fuzz import LOOPS, ORIGIN, WRITER, Batch, ticks_of

if IS_COMPILED:
    from kitefeed._hot import loops

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="the extension is not here")


def test_what_is_of_another_type_is_refused() -> None:
    for other in (None, 1, "text", bytearray(8), memoryview(b"1234"), [b""]):
        with pytest.raises(TypeError):
            loops.repack(other)  # type: ignore[arg-type]


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
    inputs = [loop.make(random) for _ in range(300)]

    def blocks() -> int:
        """How many Python has in use after taking all of them."""
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
    """Each allocation fails in turn."""
    testing = pytest.importorskip("_testcapi")
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


def alone(given: bytes | Batch) -> Callable[[], object]:
    """The loop without the Python around it, which does not survive a want of memory as well."""
    if isinstance(given, bytes):
        return partial(loops.repack, given)
    values = [loops.Value(head, seq, ORIGIN, 0, b"") for head, seq in given.values]
    wanted = given.wanted
    head = None if wanted.chunk_seq is None else WRITER.chunk_head(wanted.chunk_seq)
    before, after = WRITER.before_seq, WRITER.after_seq(0)
    columns = ticks_of(values, given)
    return partial(
        loops.keep, *columns, ORIGIN, before, after, after, wanted.topics, wanted.prefixes, head
    )
