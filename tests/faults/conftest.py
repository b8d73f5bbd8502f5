"""Every row runs on a daemon of its own, watched by the probe and read by a program, and both are
asked at the end."""

from collections.abc import Iterator

import pytest

from tests.faults.probe import Probe
from tests.faults.reader import SLACK_S, Reader
from tests.integration.rig import Rig


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take longest begin first: a worker that began one last would end alone."""

    def longest_s(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return float(marker.args[0]) if marker and item.get_closest_marker("faults") else 0.0

    items.sort(key=longest_s, reverse=True)


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    behind = request.node.get_closest_marker("behind")
    with Rig() as rig:
        rig.start()
        with Reader(rig, behind.args[0] if behind else SLACK_S) as reader:
            yield rig
        rig.stop()
        for path in rig.root.rglob("*"):
            if path.is_file() and path.name not in ("session.json", "standby.json"):
                rig.assert_no_token(path)
    assert reader.lies == []
    assert reader.judged > 0


@pytest.fixture
def probe(rig: Rig) -> Iterator[Probe]:
    with Probe(rig.run_dir) as probe:
        yield probe
    assert probe.violations == []
