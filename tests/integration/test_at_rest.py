"""Tests how much memory the whole daemon holds when it has nothing to do."""

from pathlib import Path

import pytest

from benchmarks.at_rest import ACTORS, MEMORY_MB_MAX, pids_in
from benchmarks.clocks import memory_mb
from tests.integration.rig import Rig

pytestmark = pytest.mark.processes


def test_six_actors_together_stay_within_their_memory() -> None:
    with Rig() as rig:
        rig.start()
        pids = pids_in(rig.run_dir)
        assert len(pids) == ACTORS
        if not _is_shared_memory_told(pids["ticker"]):
            pytest.skip("the kernel does not tell what these processes share")
        held = {role: round(memory_mb(pid)) for role, pid in pids.items()}
    assert sum(held.values()) <= MEMORY_MB_MAX, held


def _is_shared_memory_told(pid: int) -> bool:
    """Those that hold tokens are closed to other programs of the same user."""
    try:
        return bool(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return False
