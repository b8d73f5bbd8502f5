"""Commands without a daemon, run in this process."""

import io
import json
import os
import re
from datetime import datetime
from pathlib import Path

import pytest

from kitefeed.actors.runtime import config, instruments_db, session_file
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.locks import Holder
from kitefeed.cli import session_store
from kitefeed.cli.commands import down, login, status, subscribe, up
from kitefeed.cli.main import main
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.kite.instruments import DumpRow
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.messages.control import Answer
from kitefeed.protocol.messages.status import (
    ActorStatus,
    HeldStatus,
    ListStatus,
    Outage,
    SessionStatus,
    ShardStatus,
    StatusReport,
    SubscriptionCounts,
    Target,
    TcpAddress,
    Unconfirmed,
)
from kitefeed.protocol.secret import Secret

TOKEN = "abcdefgh12345678ABCDEFGH12345678"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in force, with its directories beside it."""
    path = tmp_path / "kitefeed.toml"
    nobody = 'rest_url = "http://127.0.0.1:9"\n'
    path.write_text(
        f'runtime_dir = "run"\nstate_dir = "state"\n[kite]\napi_key = "mykey"\n{nobody}'
    )
    monkeypatch.setenv("KITEFEED_CONFIG", str(path))
    monkeypatch.delenv("KITEFEED_API_SECRET", raising=False)
    return tmp_path


def give(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_bare_token_from_a_pipe_is_stored_and_not_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, TOKEN + "\n")
    assert main(["session", "set", "--user-id", "AB1234"]) == 0
    found = session_file.read(home / "state" / "session.json")
    assert found is not None
    assert (found.api_key, found.user_id) == ("mykey", "AB1234")
    shown = capsys.readouterr()
    assert found.fingerprint in shown.out
    assert TOKEN not in shown.out + shown.err


def test_a_json_object_is_stored_with_its_own_app(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = {"rest": "http://x", "api_key": "theirs", "access_token": TOKEN, "user_id": "AB1"}
    give(monkeypatch, json.dumps(account))
    assert main(["session", "set", "--standby"]) == 0
    found = session_file.read(home / "state" / "standby.json")
    assert found is not None
    assert (found.api_key, found.user_id) == ("theirs", "AB1")


def test_what_is_no_token_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, "my password is hunter2")
    assert main(["session", "set"]) == Exit.BAD_INPUT
    assert "hunter2" not in capsys.readouterr().err
    assert not (home / "state" / "session.json").exists()


def test_a_session_is_shown_without_its_token(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, TOKEN)
    main(["session", "set"])
    assert main(["session", "show"]) == 0
    shown = capsys.readouterr().out
    assert TOKEN not in shown
    assert "mykey" in shown
    assert "0600" in shown


def test_of_several_session_files_the_one_in_use_is_shown_first_and_what_kite_made_of_each(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = home / "watched"
    with (home / "kitefeed.toml").open("a") as file:
        file.write(f'[session]\nwatch = "{watched}"\n')
    give(monkeypatch, TOKEN)
    main(["session", "set", "--force"])
    watched.write_text("WatchedToken1234")
    watched.chmod(0o600)
    os.utime(home / "state" / "session.json", (1_000, 1_000))
    own = session_file.read(home / "state" / "session.json")
    other = session_file.read(watched, "mykey")
    assert own is not None
    assert other is not None
    capsys.readouterr()
    assert main(["session", "show"]) == 0
    shown = capsys.readouterr().out
    assert shown.index(other.fingerprint) < shown.index(own.fingerprint)
    assert shown.count("no daemon has looked at it") == 2
    found = report()
    found.sessions = [
        SessionStatus(other.fingerprint, "refused", False, "Token is invalid"),
        SessionStatus(own.fingerprint, "valid", True),
    ]
    monkeypatch.setattr("kitefeed.cli.commands.session.get_status", lambda: found)
    assert main(["session", "show"]) == 0
    shown = capsys.readouterr().out
    assert shown.index(own.fingerprint) < shown.index(other.fingerprint)
    assert "in use; Kite accepts it" in shown
    assert "not in use; Kite refuses it (Token is invalid)" in shown


def test_without_a_session_show_names_the_login(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["session", "show"]) == Exit.LOGIN
    assert "kitefeed login" in capsys.readouterr().err


def test_a_cleared_session_is_gone_and_clearing_again_is_fine(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, TOKEN)
    main(["session", "set"])
    assert main(["session", "clear"]) == 0
    assert not (home / "state" / "session.json").exists()
    assert main(["session", "clear"]) == 0


@pytest.mark.parametrize("command", ["set", "show"])
def test_a_session_file_others_can_read_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    give(monkeypatch, TOKEN)
    main(["session", "set"])
    path = home / "state" / "session.json"
    path.chmod(0o644)
    give(monkeypatch, "z" * 32)
    assert main(["session", command]) == Exit.LOGIN
    assert TOKEN in path.read_text()


def test_a_login_without_a_secret_or_anybody_to_ask_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, "")
    assert main(["login", "--no-browser"]) == Exit.BAD_INPUT
    assert "API secret was expected" in capsys.readouterr().err


def test_a_failed_redirect_is_refused_without_its_token(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "http://127.0.0.1/?status=failed&action=login&request_token=secretsecretsecret"
    give(monkeypatch, url + "\n")
    assert main(["login", "--paste"]) == Exit.BAD_INPUT
    shown = capsys.readouterr()
    assert "secretsecret" not in shown.out + shown.err
    assert "api_key=mykey" in shown.err


def test_the_login_page_is_where_the_configuration_says() -> None:
    kite = Kite(login_url="http://127.0.0.1:1/connect/login")
    assert login.link(kite, "k") == "http://127.0.0.1:1/connect/login?v=3&api_key=k"


def test_without_a_daemon_status_and_down_say_how_to_start_it(home: Path) -> None:
    assert main(["status"]) == Exit.UNAVAILABLE
    assert main(["down"]) == Exit.UNAVAILABLE


@pytest.mark.parametrize("content", [None, "instruments = [", "\xff"])
def test_a_named_configuration_that_cannot_be_read_never_stands_for_the_default_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
) -> None:
    path = tmp_path / "typo.toml"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    monkeypatch.setenv("KITEFEED_CONFIG", "")
    for command in (["down"], ["status"], ["retry"]):
        assert main(["--config", str(path), *command]) == Exit.CONFIG
        assert "typo.toml" in capsys.readouterr().err


def test_a_broken_configuration_stops_up_before_anything_runs(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "kitefeed.toml").write_text("nonsense = 1\n")
    assert main(["up"]) == Exit.CONFIG
    assert "nonsense" in capsys.readouterr().err
    assert not (home / "run").exists()


def test_the_option_names_the_configuration(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(tmp_path / "other.toml"), "up"]) == Exit.CONFIG
    assert "other.toml" in capsys.readouterr().err


def test_the_linked_supervisor_conf_is_the_shipped_one(tmp_path: Path) -> None:
    for _ in range(2):
        link = up.link_configuration(tmp_path)
        assert link.parent == tmp_path
        assert link.read_text() == up.SHIPPED.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["supervisor.conf"]


def test_down_asks_supervisord_only_when_it_really_is_one() -> None:
    def holder(is_supervised: bool) -> Holder:
        return Holder("ticker", 4_000_001, 1, "b", 1, is_supervised)

    assert down.targets([holder(False)]) == {4_000_001}
    assert down.targets([holder(True)]) == {4_000_001}  # the mark alone: pid 1 is no supervisord


def test_instruments_are_found_in_the_dump(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["instruments", "find", "infy"]) == Exit.UNAVAILABLE
    assert "no daemon runs" in capsys.readouterr().err
    rows = [
        DumpRow(408065, 1594, "INFY", "INFOSYS", 0, "", 0, 0.05, 1, "EQ", "NSE", "NSE"),
        DumpRow(
            1, 1, "NIFTY26DEC24000CE", "NIFTY", 0, "2026-12-29", 24000, 0.05, 75, "CE",
            "NFO-OPT", "NFO",
        ),
    ]  # fmt: skip
    instruments_db.write(home / "state" / "instruments.sqlite", rows, "2026-11-23")
    capsys.readouterr()
    assert main(["instruments", "find", "nifty", "24000", "CE"]) == 0
    shown = capsys.readouterr().out
    assert "NFO:NIFTY26DEC24000CE" in shown
    assert "2026-12-29" in shown
    assert main(["instruments", "find", "infosys", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == "NSE:INFY"
    assert main(["instruments", "find", "408065"]) == 0
    assert "NSE:INFY" in capsys.readouterr().out
    assert main(["instruments", "find", "zzzz"]) == Exit.BAD_INPUT


def test_what_was_cut_is_told_on_the_way_that_is_not_parsed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        DumpRow(n, 1, f"NIFTY{n}", "", 0, "", 0, 0.05, 1, "EQ", "NSE", "NSE") for n in range(1, 107)
    ]
    instruments_db.write(home / "state" / "instruments.sqlite", rows, "2026-11-23")
    capsys.readouterr()
    assert main(["instruments", "find", "nifty"]) == 0
    *found, cut = capsys.readouterr().out.splitlines()
    assert len(found) == 20
    assert cut == "and 86 more: give another word, or `--limit 106`"
    assert main(["instruments", "find", "nifty", "--json", "--limit", "3"]) == 0
    shown = capsys.readouterr()
    assert [json.loads(line)["token"] for line in shown.out.splitlines()] == [1, 2, 3]
    assert "103 more" in shown.err
    assert main(["instruments", "find", "nifty", "--limit", "106"]) == 0
    assert "more" not in capsys.readouterr().out


def test_a_damaged_list_is_said_to_be_one_and_not_to_lack_the_name(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "state" / "instruments.sqlite"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"not a database" * 100)
    assert main(["instruments", "find", "infy"]) == Exit.UNAVAILABLE
    said = capsys.readouterr().err
    assert "is damaged" in said
    assert "`kitefeed up`" in said


@pytest.mark.parametrize(
    ("known", "line"),
    [
        (ListStatus(), "none yet"),
        (ListStatus(90_517, "2026-11-23", 1, "taken"), "90,517 of 2026-11-23"),
        (
            ListStatus(7, "2026-11-23", 2, "doubted", "it lacks 5 of the 7"),
            "7 of 2026-11-23; a newer one is not believed: it lacks 5 of the 7; "
            "`kitefeed instruments fetch --believe` takes it",
        ),
        (
            ListStatus(0, "", 1, "failed", "no answer"),
            "none yet; the last fetch failed: no answer",
        ),
        (
            ListStatus(7, "2026-11-23", 1, "taken", left_out=12),
            "7 of 2026-11-23; 12 rows were left out",
        ),
    ],
)
def test_status_says_which_list_is_in_use_and_why(known: ListStatus, line: str) -> None:
    assert status.instrument_list(known) == line


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["confirmed"], 0),
        (["dropped"], 0),
        (["confirmed", "accepted"], 75),
        (["accepted", "refused"], 65),
    ],
)
def test_the_worst_answer_decides_the_exit_code(outcomes: list[str], code: int) -> None:
    answers = tuple(Answer("NSE:X", outcome) for outcome in outcomes)  # type: ignore[arg-type]
    assert subscribe.report(answers) == code


def report() -> StatusReport:
    return StatusReport(
        feed="login_required", source="cache", session="refused", override="auto",
        reason="token refused", since_utc_s=0.0, epoch=3, consecutive_403=2, retry_in_s=12.0,
        user_id="AB1234", user_name="Asha Rao", standby="none", market={"NSE": "open"},
        next_open=None, subscriptions=SubscriptionCounts(3, 3, 2, {"NSE:NOPE": "does not exist"}),
        subscribers=1, last_tick_age_s=65.0, last_outage=Outage("login", 0.0, 60.0, 61.0),
        endpoints={}, actors=[ActorStatus("ticker", "up", 42, 0.3)], version="0.1.0",
    )  # fmt: skip


def test_status_shows_everything_a_person_looks_for() -> None:
    shown = status.text(report())
    for part in (
        "login_required", "token refused", "Asha Rao (AB1234)", "in 12 s",
        "refused (403) 2 times in a row", "3 wanted, 3 asked for, 2 confirmed",
        "NSE:NOPE: does not exist", "65 s ago", "all run", "live 1.0 s after the login",
    ):  # fmt: skip
        assert part in shown, part


def test_status_says_whether_it_runs_compiled() -> None:
    found = report()
    assert re.search(r"^version +0\.1\.0$", status.text(found), re.M)  # of an older daemon
    found.build = "pure Python"
    assert re.search(r"^version +0\.1\.0, pure Python$", status.text(found), re.M)


def test_status_says_which_kite_it_is() -> None:
    found = report()
    found.target = Target("kite", "https://api.kite.trade", "wss://ws.kite.trade")
    assert re.search(r"^kite +Kite$", status.text(found), re.M)
    found.target = Target("sandbox", "https://sandbox.kite.trade", "wss://x")
    assert "sandbox: https://sandbox.kite.trade, wss://x" in status.text(found)


def test_status_names_what_kite_has_not_confirmed_and_for_how_long() -> None:
    found = report()
    found.subscriptions.unconfirmed = [
        Unconfirmed("NSE:INFY", "full", "quote", 72.0),
        *(Unconfirmed(f"NSE:X{n}", "quote", None, 5.0) for n in range(29)),
    ]
    shown = status.text(found)
    assert "NSE:INFY: comes in quote only; full was asked for 72 s ago" in shown
    assert "NSE:X0: nothing came; quote was asked for 5.0 s ago, and is asked for again" in shown
    assert "and 10 more: `kitefeed status --json`" in shown


def test_status_says_why_missed_updates_of_orders_are_not_known() -> None:
    found = report()
    assert not [name for name, _ in status.rows(found) if name == "orders"]
    found.orders_unread = "the order book cannot be read (HTTP 503)"
    assert "the order book cannot be read (HTTP 503)" in status.text(found)


def test_status_names_what_is_held_stale_and_because_of_whom() -> None:
    found = report()
    assert "held stale" not in status.text(found)
    found.held = [
        HeldStatus(0, ["NSE:NIFTY 50"], "INDICES", 12.0),
        HeldStatus(1, [f"NSE:I{n}" for n in range(5)], "all of this socket", 70.0),
    ]
    shown = status.text(found)
    assert "held stale      INDICES: NSE:NIFTY 50 on socket 0, for 12 s" in shown
    assert "all of this socket: NSE:I0, NSE:I1, NSE:I2 and 2 more on socket 1" in shown


def test_status_leaves_out_what_is_as_always_and_what_only_its_makers_know() -> None:
    found = report()
    found.feed, found.reason, found.retry_in_s, found.consecutive_403 = "live", "", None, 0
    found.subscriptions, found.last_outage = SubscriptionCounts(3, 3, 3), None
    found.next_open = "2026-11-24T09:15:00+05:30"
    names = [line.split("  ")[0] for line in status.text(found).splitlines()]
    for name in ("reason", "next attempt", "next open", "standby", "last outage", "other hosts"):
        assert name not in names
    for word in ("epoch", "shard", "fenced", "frame", "canary", "403", "None"):
        assert word not in status.text(found)
    found.feed = "closed"
    found.tcp_feed = TcpAddress("tcp://192.168.1.5:5556", "")
    shown = status.text(found)
    assert "Tue 24 Nov 09:15 IST" in shown
    assert "tcp://192.168.1.5:5556" in shown


def test_a_process_that_does_not_run_is_named_with_its_state() -> None:
    found = report()
    found.actors.append(ActorStatus("rest_poller", "suspect", 43, 6.0))
    shown = status.text(found)
    assert "rest_poller     suspect  pid 43, heard 6.0 s ago" in shown
    assert "all run" not in shown


@pytest.mark.parametrize(
    ("login", "now", "told"),
    [
        ("2026-11-23 08:31:02", "2026-11-23 13:31", "5 h ago; Kite ends it Tue 24 Nov 06:00-07:30"),
        ("2026-11-23 08:31:02", "2026-11-24 06:10", "at any moment until 07:30 IST"),
        ("2026-11-23 08:31:02", "2026-11-24 07:31", "Kite ended it by Tue 07:30 IST"),
        ("2026-11-23 06:40:00", "2026-11-23 06:50", "at any moment until 07:30 IST"),
        ("2026-11-23 03:00:00", "2026-11-23 03:01", "Kite ends it Mon 23 Nov 06:00-07:30"),
    ],
)
def test_the_age_of_a_token_and_its_end_are_told_in_ist(login: str, now: str, told: str) -> None:
    given = session_file.Session("k", Secret(TOKEN), login_time=login)
    at_s = datetime.fromisoformat(now).replace(tzinfo=IST).timestamp()
    assert told in session_store.lifetime(given, at_s)


@pytest.mark.parametrize("login", [None, "", "nonsense"])
def test_of_a_token_without_the_time_of_its_login_no_age_is_invented(login: str | None) -> None:
    given = session_file.Session("k", Secret(TOKEN), login_time=login)
    assert session_store.lifetime(given, 1.8e9) == ""


def test_status_shows_each_socket_when_there_are_several() -> None:
    found = report()
    one = ShardStatus(0, "live", "websocket", 3, 2, 2)
    other = ShardStatus(1, "waiting", "none", 4, 1, 0)
    found.shards = [one]
    assert "sockets" not in status.text(found)
    found.shards = [one, other]
    shown = status.text(found)
    assert "0 live         source websocket  2 instruments, 2 confirmed" in shown
    assert "1 waiting      source none       1 instruments, 0 confirmed" in shown


def test_a_configuration_that_is_not_in_force_yet_is_told(home: Path) -> None:
    path = home / "kitefeed.toml"
    own = home / "days.toml"
    own.write_text("years = [2027]\n")
    path.write_text('[market]\ncalendar = "days.toml"\n')
    read = config.load().digests
    assert status.configuration(read) == [str(path), str(own)]
    own.write_text("years = [2027, 2028]\n")
    first, second = status.configuration(read)
    assert "newer" not in first
    assert "newer than the daemon" in second
    assert "kitefeed up" in second
    path.write_text("mode = 'nonsense'\n")
    assert "cannot be used" in status.configuration(read)[0]
    path.unlink()
    assert "cannot be used" in status.configuration(read)[0]
