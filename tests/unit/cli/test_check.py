"""Tests what a monitor is told."""

import json
import re
from pathlib import Path

import pytest

from kitefeed.cli.commands.check import judge
from kitefeed.cli.main import main
from kitefeed.protocol.messages.status import ActorStatus, StatusReport, SubscriptionCounts


def report(feed: str = "live", age_s: float | None = 0.4, **more: object) -> StatusReport:
    found = StatusReport(
        feed=feed, source="websocket", session="valid", override="auto", reason="", since_utc_s=0.0,
        epoch=1, consecutive_403=0, retry_in_s=None, user_id=None, user_name=None, standby="none",
        market={}, next_open=None, subscriptions=SubscriptionCounts(), subscribers=2,
        last_tick_age_s=age_s, last_outage=None, endpoints={}, version="1",
        actors=[ActorStatus("ticker", "up", 42)],
    )  # fmt: skip
    for name, value in more.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (report(), "OK"),
        (report(age_s=3.0), "OK"),
        (report(age_s=3.1), "WARNING"),
        (report(age_s=10.1), "CRITICAL"),
        (report(age_s=None), "CRITICAL"),
        (report("closed", 40_000.0), "OK"),
        (report("rest", 60.0), "WARNING"),
        (report("paused", 60.0), "WARNING"),
        (report("stale"), "CRITICAL"),
        (report("login_required"), "CRITICAL"),
        (report("no_entitlement"), "CRITICAL"),
        (report("misconfigured"), "CRITICAL"),
        (report("a word of a later version"), "CRITICAL"),
        (report(actors=[ActorStatus("rest_poller", "absent")]), "WARNING"),
    ],
)
def test_the_worst_of_headline_age_and_processes_decides(found: StatusReport, level: str) -> None:
    assert judge(found, 3, 10).level == level


def test_without_a_daemon_it_is_critical_in_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kitefeed.toml"
    path.write_text('runtime_dir = "run"\n')
    monkeypatch.setenv("KITEFEED_CONFIG", str(path))
    assert main(["check"]) == 2
    assert re.fullmatch(
        r"KITEFEED CRITICAL - No kitefeed daemon .+ \| age=U;3;10;0\n", capsys.readouterr().out
    )
    assert main(["check", "--format", "json"]) == 2
    assert json.loads(capsys.readouterr().out)["level"] == "CRITICAL"
    assert main(["check", "--format", "prometheus"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert "kitefeed_check_status 2" in lines
    assert "kitefeed_check_daemon_up 0" in lines
    assert not [line for line in lines if "age" in line]


def test_what_cannot_be_told_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KITEFEED_CONFIG", str(tmp_path / "missing.toml"))
    assert main(["check"]) == 3
    assert main(["check", "--age-warn", "20"]) == 3
    assert capsys.readouterr().out.count("KITEFEED UNKNOWN - ") == 2
