"""Some of the inputs of which `make fuzz` tries a million."""

import pytest

from kitefeed._hot import IS_COMPILED
from tests import fuzz


@pytest.mark.skipif(not IS_COMPILED, reason="the extension is not here")
@pytest.mark.parametrize("name", fuzz.LOOPS)
def test_the_compiled_loop_gives_what_its_twin_in_python_gives(name: str) -> None:
    # A reading is up to twenty messages, and as many comparisons of two views.
    fuzz.fuzz(name, n=1_000 if name == "messages" else 5_000, seed=1)


def test_a_difference_is_found_and_shown() -> None:
    loop = fuzz.Loop(fuzz.frame, lambda given: given, lambda given: given + b"\0")
    with pytest.raises(fuzz.Differs, match="given b'12'"):
        fuzz.compare(loop, b"12")
    failing = fuzz.Loop(fuzz.frame, lambda given: given[0], lambda given: given)
    with pytest.raises(fuzz.Differs, match="IndexError"):
        fuzz.compare(failing, b"")
