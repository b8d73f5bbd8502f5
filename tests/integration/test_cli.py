"""The commands against a running daemon and a simulated Kite."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, build_opener

import msgspec
import pytest

from kitefeed import BadInput, Feed
from kitefeed.actors.runtime import locks, session_file
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.simulator.thread import RunningSimulator
from tests.integration.cli_kit import (
    BIN,
    KITEFEED,
    STARTED_S,
    STOPPED_S,
    Home,
    home_beside_simulator,
)
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(90)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A live daemon that the tests of this module share."""
    with home_beside_simulator(tmp_path_factory.mktemp("k")) as (home, _):
        home.start(*KITEFEED, "up")
        home.log_in()
        home.wait_for("live")
        yield home


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[tuple[Home, RunningSimulator]]:
    with home_beside_simulator(tmp_path) as found:
        yield found


@pytest.fixture
def home(stage: tuple[Home, RunningSimulator]) -> Home:
    return stage[0]


def test_status_shows_the_state_and_the_user(daemon: Home) -> None:
    done = daemon.run("status")
    assert done.returncode == 0
    assert re.search(r"^feed +live$", done.stdout, re.MULTILINE)
    assert "Asha Rao" in done.stdout


def test_status_as_json_names_the_endpoints(daemon: Home) -> None:
    report = msgspec.json.decode(daemon.run("status", "--json").stdout, type=StatusReport)
    assert report.feed == "live"
    assert report.endpoints["feed"].startswith("ipc://")
    assert {actor.role for actor in report.actors} >= {"ticker", "broadcaster"}


def test_tail_prints_prices(daemon: Home) -> None:
    done = daemon.run("tail", "NSE:INFY", "--count", "2")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert re.search(r"NSE:INFY +₹1,\d{3}\.\d\d ", done.stdout)


def test_tail_as_json_prints_one_object_per_line(daemon: Home) -> None:
    done = daemon.run("tail", "NSE:INFY", "--json", "--count", "2")
    ticks = [json.loads(line) for line in done.stdout.splitlines()]
    assert [tick["instrument"] for tick in ticks] == ["NSE:INFY"] * 2
    assert ticks[1]["source"] == "websocket"


def test_tail_shows_the_latest_only_when_told_how_often(daemon: Home) -> None:
    done = daemon.run("tail", "NSE:INFY", "--per-second", "1", "--json", "--count", "3")
    assert done.returncode == 0, done.stderr
    first, second, third = (json.loads(line) for line in done.stdout.splitlines())
    assert third["seq"] - second["seq"] == 1  # of a topic of its own: nothing was lost in between
    assert third["received_at"] > second["received_at"] >= first["received_at"]
    assert daemon.run("tail", "--per-second", "3").returncode == 2


def test_top_shows_actors_sources_and_the_programs_that_read(daemon: Home) -> None:
    with Feed("NSE:INFY", config=daemon.config, name="my strategy") as feed:
        feed.next(3)

        def mine() -> dict[str, object]:
            feed.next(0)
            found = json.loads(daemon.run("top", "--json", "--once").stdout)
            rows = [row for row in found["readers"] if row["name"] == "my strategy"]
            return found if rows and rows[0]["ticks_per_s"] > 0 else {}

        found = eventually(mine, 20)
    assert found["feed"] == "live"
    assert {actor["state"] for actor in found["actors"]} == {"up"}
    assert all(actor["cpu_percent"] is not None for actor in found["actors"])
    [source] = found["sources"]
    assert source["ticks_per_s"] > 0
    assert source["is_alive"]
    assert found["broadcast"]["frames_per_s"] > 0
    assert found["busiest"][0]["ticks_per_s"] >= found["busiest"][-1]["ticks_per_s"] > 0
    [reader] = [row for row in found["readers"] if row["name"] == "my strategy"]
    assert (reader["pid"], reader["instruments"], reader["gaps"]) == (os.getpid(), 1, 0)
    assert not [row for row in found["readers"] if row["name"] == "kitefeed top"]


def test_top_into_a_pipe_is_text_that_fits_80_columns(daemon: Home) -> None:
    done = daemon.run("top", "--once")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^broadcaster +up +\d+ ", done.stdout, re.MULTILINE)
    assert "BUSIEST" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_doctor_finds_nothing_wrong_with_a_live_daemon(daemon: Home) -> None:
    done = daemon.run("doctor", "--json")
    assert done.returncode == 0, done.stdout
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert [f for f in found.values() if f["state"] == "wrong"] == []
    for name in ("processes", "duplicates", "list", "feed", "lag", "WebSocket", "entitlement"):
        assert found[name]["state"] == "ok", found[name]
    assert "by the daemon" in found["WebSocket"]["text"]
    for secret in ("access_token", "api_key", "user_name"):
        assert daemon.account[secret] not in done.stdout


def test_check_tells_a_monitor_that_data_arrives(daemon: Home) -> None:
    done = daemon.run("check")
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(
        r"KITEFEED OK - feed live, .+ \| age=[\d.]+s;3;10;0 subscribers=\d+;;;0\n",
        done.stdout,
    )
    late = daemon.run("check", "--age-warn", "0.000001", "--age-crit", "0.000002")
    assert late.returncode == 2
    age_s = json.loads(daemon.run("check", "--format", "json").stdout)["age_s"]
    assert 0 <= age_s < 3 * slowness()


def test_watch_into_a_pipe_prints_the_table_once(daemon: Home) -> None:
    done = daemon.run("watch", "NSE:INFY", "NSE:SBIN")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("LIVE")
    assert re.search(r"^NSE:INFY +₹1,\d{3}\.\d\d ", done.stdout, re.MULTILINE)
    assert re.search(r"^NSE:INFY ", daemon.run("watch", "--once").stdout, re.MULTILINE)
    assert daemon.run("watch", "NSE:NOPE").returncode == 65


@pytest.mark.parametrize("command", [["top"], ["watch", "NSE:INFY"], ["status", "--watch"]])
def test_what_shows_the_feed_on_a_terminal_ends_with_q(daemon: Home, command: list[str]) -> None:
    ours, theirs = pty.openpty()
    shown = subprocess.Popen(
        [*KITEFEED, *command], env=daemon.environment(), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while b"live" not in seen.lower():
        seen += os.read(ours, 4096)
    os.write(ours, b"q")
    while True:
        try:
            seen += os.read(ours, 4096)
        except OSError:  # it has ended
            break
    os.close(ours)
    assert shown.wait(10 * slowness()) == 0
    assert seen.count(b"\x1b[?1049h") == seen.count(b"\x1b[?1049l") == 1  # the alternate screen


def test_tail_refuses_what_does_not_exist_at_once(daemon: Home) -> None:
    done = daemon.run("tail", "NSE:NOPE")
    assert done.returncode == 65
    assert "kitefeed instruments find" in done.stderr


def test_subscribing_is_answered_per_instrument(daemon: Home) -> None:
    done = daemon.run("subscribe", "NSE:SBIN", "NSE:NOPE", "--mode", "quote")
    assert done.returncode == 65
    assert "NSE:SBIN confirmed" in done.stdout
    assert "NSE:NOPE refused" in done.stderr
    done = daemon.run("unsubscribe", "NSE:SBIN")
    # A program of the test before may still count as a listener, which the answer then says.
    assert done.returncode == 0
    assert done.stdout.startswith("NSE:SBIN dropped")


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(daemon: Home) -> None:
    said = "not in today's instrument list; did you mean NSE:RELIANCE?"
    assert said in daemon.run("subscribe", "NSE:RELIANC").stderr
    assert daemon.run("tail", "NSE:RELIANC").stderr == f"kitefeed: NSE:RELIANC: {said}\n"
    with pytest.raises(BadInput, match="did you mean NSE:RELIANCE"):
        Feed("NSE:RELIANC", config=daemon.config)
    assert "did you mean NSE:INFY" in daemon.run("tail", "nse:infy").stderr
    assert daemon.run("subscribe", "NSE:SBIN").returncode == 0
    done = daemon.run("unsubscribe", "NSE:SBINN")
    assert done.returncode == 65
    assert "NSE:SBINN refused: it is not subscribed; did you mean NSE:SBIN?" in done.stderr
    assert "did you mean" not in daemon.run("unsubscribe", "NSE:WHATEVER").stderr
    assert daemon.run("unsubscribe", "NSE:SBIN").returncode == 0
    found = daemon.run("instruments", "find", "NSE:RELIANX").stderr
    assert "did you mean NSE:RELIANCE?" in found


def test_the_operator_chooses_the_source(daemon: Home) -> None:
    assert daemon.run("pause").returncode == 0
    assert daemon.wait_for("paused").override == "paused"
    assert daemon.run("source", "auto").returncode == 0
    assert daemon.run("retry").returncode == 0
    daemon.wait_for("live")


def test_instruments_are_found_in_the_days_list(daemon: Home) -> None:
    done = daemon.run("instruments", "find", "infosys")
    assert "NSE:INFY" in done.stdout


def test_a_second_up_is_refused(daemon: Home) -> None:
    done = daemon.run("up")
    assert done.returncode == 75
    assert "kitefeed down" in done.stderr


def test_no_token_is_in_what_a_run_wrote(daemon: Home) -> None:
    token = daemon.account["access_token"]
    for path in daemon.directory.rglob("*"):
        if path.is_file() and path.name != "session.json":
            assert token.encode() not in path.read_bytes(), path


def test_down_stops_all_and_leaves_no_socket_of_supervisord(home: Home) -> None:
    process = home.start(*KITEFEED, "up")
    home.wait_for("login_required")
    done = home.run("down")
    assert done.returncode == 0, done.stderr
    assert home.is_empty()
    assert process.wait(STOPPED_S) == 0
    assert not (home.run_dir / "supervisord.sock").exists()
    assert home.run("status").returncode == 69


@pytest.mark.parametrize(
    "streams", ["<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>&1", "2>&1 | true"]
)
def test_a_daemon_starts_whatever_becomes_of_its_output(home: Home, streams: str) -> None:
    home.start("sh", "-c", f'"$@" {streams}', "sh", *KITEFEED, "up", env=home.environment())
    try:
        home.wait_for("login_required")
        home.log_in()
        home.wait_for("live")
        assert "Traceback" not in home.log_text()
    finally:
        assert home.run("down").returncode == 0


def test_a_daemon_of_a_user_without_a_home_goes_live(home: Home) -> None:
    unknown = "import pwd\ndef getpwuid(uid):\n    raise KeyError(uid)\npwd.getpwuid = getpwuid\n"
    (home.directory / "sitecustomize.py").write_text(unknown)
    env = {**home.environment(), "PYTHONPATH": str(home.directory)}
    del env["HOME"]
    home.start(*KITEFEED, "up", env=env)
    home.log_in()
    home.wait_for("live")
    assert (home.directory / "state" / "key-locks").is_dir()


def test_a_configuration_changed_under_a_daemon_is_told_until_it_is_in_force(home: Home) -> None:
    text = home.config.read_text()
    home.config.write_text(text.replace(f'api_key = "{home.account["api_key"]}"', 'api_key = ""'))
    process = home.start(*KITEFEED, "up")
    home.wait_for("login_required")
    assert "kite.api_key is empty" in home.log_text()
    assert "newer" not in home.run("status").stdout
    home.config.write_text(text)
    assert f"{home.config}: the file is newer than the daemon" in home.run("status").stdout
    process.terminate()
    assert process.wait(STOPPED_S) == 0
    home.start(*KITEFEED, "up")
    home.wait_for("login_required")
    assert "newer" not in home.run("status").stdout
    assert home.log_text().count("kite.api_key is empty") == 1


def test_ctrl_c_stops_all(home: Home) -> None:
    process = home.start(*KITEFEED, "up")
    home.wait_for("login_required")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(STOPPED_S) == 0
    assert home.is_empty()


def test_up_waits_for_a_daemon_that_is_leaving(home: Home) -> None:
    first = home.start(*KITEFEED, "up")
    home.wait_for("login_required")
    first.kill()
    first.wait()
    assert not home.is_empty()
    second = home.start(*KITEFEED, "up")

    def is_second() -> bool:
        return any(h.parent_pid == second.pid for h in locks.live_holders(home.run_dir))

    eventually(is_second, 2 * STARTED_S)  # one ends, and another starts
    home.wait_for("login_required")


def test_of_two_that_start_at_the_same_moment_one_is_refused(home: Home) -> None:
    both = [home.start(*KITEFEED, "up") for _ in range(2)]

    def loser() -> subprocess.Popen[bytes] | None:
        return next((process for process in both if process.poll() is not None), None)

    refused = eventually(loser, STARTED_S)
    assert refused is not None
    assert refused.returncode == 75, home.log_text()
    assert "already runs" in home.log_text()
    home.wait_for("login_required")
    assert [process.poll() for process in both].count(None) == 1


def test_every_line_is_logged_once_also_into_a_socket(home: Home) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        process = home.start(*KITEFEED, "up", stdout=theirs)
        theirs.close()
        received: list[bytes] = []
        reader = threading.Thread(
            target=lambda: received.extend(iter(lambda: ours.recv(4096), b""))
        )
        reader.start()
        home.wait_for("login_required")
        process.terminate()
        process.wait(STOPPED_S)
        reader.join(STOPPED_S)
    text = b"".join(received).decode()
    assert text.count("login required: there is no session") == 1


def test_supervisord_by_hand_needs_no_environment(home: Home) -> None:
    """The shipped file, linked into a directory with a configuration, as in a checkout."""
    link = home.directory / "supervisor.conf"
    link.symlink_to(ROOT / "supervisor.conf")
    supervisord = str(BIN / "supervisord")
    process = home.start(supervisord, "-c", str(link), env={})
    home.wait_for("login_required")
    home.log_in()
    home.wait_for("live")
    done = home.run("down")
    assert done.returncode == 0, done.stderr
    assert process.wait(STOPPED_S) == 0


def test_logging_in_by_the_redirected_url(stage: tuple[Home, RunningSimulator]) -> None:
    home, _ = stage
    url = redirect_of(f"{home.account['rest']}/connect/login?v=3&api_key={home.account['api_key']}")
    done = home.run("login", "--paste", given=f"{url}\n{home.account['api_secret']}\n")
    assert done.returncode == 0, done.stderr
    found = session_file.read(home.directory / "state" / "session.json")
    assert found is not None
    assert found.user_name == "Asha Rao"
    assert found.access_token.reveal() not in done.stdout + done.stderr
    again = home.run("login", "--paste", given=f"{url}\n{home.account['api_secret']}\n")
    assert again.returncode == 77
    assert session_file.read(home.directory / "state" / "session.json") == found


def redirect_of(url: str) -> str:
    """Return where the login page sends the browser."""

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    try:
        build_opener(Stay).open(url, timeout=5)
    except HTTPError as answer:
        return str(answer.headers["Location"])
    raise AssertionError("the login page did not redirect")


def test_the_end_of_a_reader_ends_tail_quietly(daemon: Home) -> None:
    with subprocess.Popen(
        [*KITEFEED, "tail", "NSE:INFY"],
        env=daemon.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        assert b"NSE:INFY" in tail.stdout.readline()
        tail.stdout.close()
        assert tail.wait(10 * slowness()) == 0
        assert b"Traceback" not in tail.stderr.read()
