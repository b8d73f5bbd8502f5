"""What the compiled loops owe the process that they run in, whatever they are given. That they give
the same as their twins is in `tests/property/test_twins.py`."""

import sys
from random import Random

import pytest

from kitefeed._hot import IS_COMPILED
from tests.fuzz import LOOPS

if IS_COMPILED:
    from kitefeed._hot import loops

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="the extension is not here")


def test_what_is_of_another_type_is_refused() -> None:
    for other in (None, 1, "text", bytearray(8), memoryview(b"1234"), [b""]):
        with pytest.raises(TypeError):
            loops.repack(other)  # type: ignore[arg-type]


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
    loop, random = LOOPS[name], Random(2)
    failures = 0
    for _ in range(100):
        given = loop.make(random)
        for nth in range(1, 40):
            testing.set_nomemory(nth, nth + 1)
            try:
                loop.compiled(given)
            except MemoryError:
                failures += 1
            finally:
                testing.remove_mem_hooks()
    assert failures > 100
