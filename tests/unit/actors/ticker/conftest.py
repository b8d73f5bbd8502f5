"""The ticker's machine, on both builds."""

import pytest

from kitefeed._hot import IS_COMPILED
from kitefeed.actors.ticker import link_state
from kitefeed.protocol.kite import repack


@pytest.fixture(autouse=True, params=["compiled", "pure Python"])
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose the twin that reads frames."""
    if request.param == "compiled" and not IS_COMPILED:
        pytest.skip("the extension is not here")
    twin = repack.repack_compiled if request.param == "compiled" else repack.repack_in_python
    monkeypatch.setattr(link_state, "repack_frame", twin)
