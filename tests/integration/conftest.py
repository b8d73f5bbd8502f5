"""Daemons for the integration tests."""

from collections.abc import Iterator

import pytest

from tests.integration.rig import Rig


@pytest.fixture(scope="module")
def shared() -> Iterator[Rig]:
    """One daemon for the tests that leave it as it was."""
    with Rig() as rig:
        rig.start()
        yield rig


@pytest.fixture
def rig(shared: Rig) -> Rig:
    shared.simulator.fault("clear")
    shared.until("live", 10)
    return shared


@pytest.fixture
def own_rig() -> Iterator[Rig]:
    """A daemon of its own, for tests that stop it or read everything it wrote."""
    with Rig() as rig:
        rig.start()
        yield rig
