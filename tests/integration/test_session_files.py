"""Several files hold a session: the one that Kite accepts is used, and commands say which."""

import os
from pathlib import Path

import pytest

from tests.integration.rig import Rig
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

DEAD = "DeadToken1234567890"


def watch(path: Path, token: str) -> None:
    """As another program might: the file appears whole."""
    fresh = path.with_suffix(".new")
    fresh.write_text(token)
    fresh.chmod(0o600)
    os.replace(fresh, path)


def test_a_newer_file_with_a_dead_token_does_not_displace_the_session_that_kite_accepts() -> None:
    with Rig(market='hours = "always"\n[session]\nwatch = "watched"') as rig:
        rig.start()
        epoch, errors = rig.status()["epoch"], rig.errors()
        own = rig.status()["sessions"][0]["fingerprint"]
        watch(rig.root / "watched", DEAD)
        eventually(lambda: [s["word"] for s in rig.status()["sessions"]] == ["refused", "valid"], 8)
        found = rig.status()
        assert (found["feed"], found["session"], found["epoch"]) == ("live", "valid", epoch)
        assert [s["is_in_use"] for s in found["sessions"]] == [False, True]
        shown = rig.kitefeed("session", "show").stdout
        first, second = shown.split("\n\n")
        assert own in first
        assert "in use; Kite accepts it" in first
        assert "not in use; Kite refuses it" in second
        assert str(rig.root / "watched") in second
        rig.simulator.fault("drop_ws", "rst")  # the next socket opens with it, too
        eventually(lambda: rig.status()["epoch"] > epoch and rig.status()["feed"] == "live", 15)
        assert rig.errors() == errors

        login = rig.simulator.login()  # the own session dies with it
        watch(rig.root / "watched", str(login["access_token"]))
        eventually(lambda: rig.status()["sessions"][0]["is_in_use"], 8)
        eventually(lambda: rig.status()["session"] == "valid", 8)
        rig.until("live", 5)
