"""A disk that is really full: the state directory on a file system of two megabytes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.probe import Ledger, Probe
from tests.faults.reader import Reader
from tests.faults.test_process_faults import until_fresh
from tests.integration.rig import Rig
from tests.support import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

# In a mount namespace of the daemon's own: nobody else sees the file system, and it ends with it.
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
MOUNTED = (
    "cp -a state kept && mount -t tmpfs -o size=2m,mode=700 kitefeed state && cp -a kept/. state/"
    ' && exec "$@"'
)


@pytest.fixture
def rig() -> Iterator[Rig]:
    tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.fail(f"this host gives no mount namespace, so row 15 is not shown: {tried.stderr}")
    with Rig(wrapper=(*NAMESPACE, "sh", "-c", MOUNTED, "sh")) as rig:
        rig.start()
        yield rig


def test_15_a_full_disk_is_said_once_costs_no_tick_and_is_over_when_there_is_room(
    rig: Rig,
) -> None:
    assert rig.daemon is not None
    state = Path(f"/proc/{rig.daemon.pid}/root{rig.root}/state")
    eventually((state / "last_values.msgpack").exists, 15)
    with Probe(rig.run_dir) as probe, Reader(rig) as reader:
        until_fresh(rig, 5)
        ledger = Ledger(rig, probe)
        filler = state / "filler"
        _fill(filler)
        assert rig.kitefeed("subscribe", "NSE:TCS").returncode == 0  # in force, not yet remembered
        eventually(lambda: _said(rig, "last values") and _said(rig, "subscriptions"), 15)
        assert len(rig.errors()) == 2, rig.errors()
        assert rig.status()["feed"] == "live"
        filler.unlink()
        eventually(lambda: rig.output().count(" over after ") == 2, 25)
        assert len(rig.errors()) == 2, rig.errors()
        ledger.assert_none_lost()
    assert probe.violations == []
    assert reader.lies == []
    assert b"NSE:TCS" in (state / "supervisor.json").read_bytes()
    assert not list(state.glob("*.damaged"))


def _fill(path: Path) -> None:
    """Until not a byte goes in."""
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def _said(rig: Rig, what: str) -> bool:
    return any(what in line and "condition=disk" in line for line in rig.errors())
