"""Every row runs on a daemon of its own, watched by the probe, and is judged at the end."""

from collections.abc import Iterator

import pytest

from tests.faults.probe import Probe
from tests.integration.rig import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        rig.start()
        yield rig
        rig.stop()
        for path in rig.root.rglob("*"):
            if path.is_file() and path.name not in ("session.json", "standby.json"):
                rig.assert_no_token(path)


@pytest.fixture
def probe(rig: Rig) -> Iterator[Probe]:
    with Probe(rig.run_dir) as probe:
        yield probe
    assert probe.violations == []
