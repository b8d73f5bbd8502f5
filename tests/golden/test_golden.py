"""Every message ever released is readable by today's code."""

from typing import Any

import msgspec
import pytest

from tests.golden import samples
from tests.golden.samples import TYPES, Sample


def is_kept(old: Any, new: Any) -> bool:
    """Whether all of `old` is in `new`, which may have more fields (at the end, of an array)."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            k in new and is_kept(v, new[k]) for k, v in old.items()
        )
    if isinstance(old, list):
        is_list = isinstance(new, list) and len(new) >= len(old)
        return is_list and all(is_kept(a, b) for a, b in zip(old, new, strict=False))
    return bool(old == new)


@pytest.mark.parametrize("sample", samples.read(), ids=lambda s: f"{s.release}-{s.name}")
def test_a_released_message_is_decoded_with_every_field_it_had(sample: Sample) -> None:
    decoded = msgspec.msgpack.decode(sample.data, type=TYPES[sample.name])
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(decoded))
    assert is_kept(msgspec.msgpack.decode(sample.data), again)


def test_every_message_has_a_sample_of_its_present_form() -> None:
    names = [sample.name for sample in samples.missing()]
    assert names == [], "run `python -m tests.golden.samples` and commit samples.txt"
