"""The broadcaster's machine, on both builds."""

import pytest

from kitefeed._hot import IS_COMPILED
from kitefeed.actors.broadcaster import machine, store, ticks


@pytest.fixture(autouse=True, params=["compiled", "pure Python"])
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose the twin that keeps ticks, and what a value is."""
    if request.param == "compiled" and not IS_COMPILED:
        pytest.skip("the extension is not here")
    if request.param == "pure Python":
        monkeypatch.setattr(store, "Value", store.PythonValue)
        monkeypatch.setattr(machine, "keep", ticks.keep_in_python)
