"""What programs may import from `kitefeed`, and that it says what it is."""

import inspect

import pytest

import kitefeed
from kitefeed import AsyncFeed, Feed, Status, Tick


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    for name in kitefeed.__all__:
        assert getattr(kitefeed, name) is not None
    assert set(kitefeed._PLACES) | {"__version__", "kite"} == set(kitefeed.__all__)
    assert kitefeed.__all__ == sorted(kitefeed.__all__)


@pytest.mark.parametrize("kind", [Feed, AsyncFeed, Tick])
def test_every_public_method_and_property_has_a_docstring(kind: type) -> None:
    silent = [
        name
        for name, member in inspect.getmembers(kind)
        if not name.startswith("_")
        and (callable(member) or isinstance(member, property))
        and not inspect.getdoc(member)
    ]
    assert silent == []


@pytest.mark.parametrize("name", Status.__struct_fields__)
def test_every_field_of_the_status_is_explained(name: str) -> None:
    assert f"{name}:" in (Status.__doc__ or "") or f"{name}," in (Status.__doc__ or "")
