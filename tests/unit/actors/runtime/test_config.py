import tomllib
from pathlib import Path

import msgspec
import pytest

from kitefeed.actors.runtime import config, config_parser, config_tables, kite_target
from kitefeed.actors.runtime.config_tables import Config
from kitefeed.protocol import location, passwords, topology
from kitefeed.protocol.errors import ConfigError

EXAMPLE = Path(__file__).parents[4] / "kitefeed.example.toml"


def write(directory: Path, text: str) -> Path:
    path = directory / "kitefeed.toml"
    path.write_text(text)
    return path


def refusal(directory: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load(write(directory, text))
    return str(caught.value)


def test_the_example_holds_every_setting_with_its_default() -> None:
    text = EXAMPLE.read_text()
    assert config_parser.parse(tomllib.loads(text), EXAMPLE) == Config()
    for struct in (
        Config, kite_target.Kite, config_tables.SessionTable, config_tables.StandbyTable,
        config_tables.FeedTable, config_tables.MarketTable, config_tables.GatewayTable,
        config_tables.AlertsTable,
    ):  # fmt: skip
        for field in msgspec.structs.fields(struct):
            assert field.name in text, field.name


def test_the_example_with_its_standby_switched_on_is_valid() -> None:
    lines = [
        line.removeprefix("# ")
        if line.startswith(("# [session.standby]", "# api_key =", "# file ="))
        else line
        for line in EXAMPLE.read_text().splitlines()
    ]
    path = Path("kitefeed.toml")
    found = config_parser.parse(tomllib.loads("\n".join(lines)), path)
    assert found.session.standby == config_tables.StandbyTable()


def test_an_unknown_setting_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, '[kite]\napikey = "x"\n')
    assert "kite.apikey: is not a setting; did you mean 'api_key'?" in sentence
    assert str(tmp_path) in sentence


def test_an_unknown_setting_like_no_other_is_refused_with_all_names(tmp_path: Path) -> None:
    assert "valid are hours" in refusal(tmp_path, "[market]\nzzz = 1\n")


def test_a_value_out_of_bounds_is_refused_with_its_key_and_value(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, "backoff_s = [5, 0]\n")
    assert "backoff_s[1]" in sentence
    assert "(is 0)" in sentence


@pytest.mark.parametrize(
    "line",
    [
        "backoff_s = []",
        "instruments = 5",
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(tmp_path: Path, line: str) -> None:
    assert "correct it" in refusal(tmp_path, line)


def test_what_is_not_toml_is_refused_with_its_place(tmp_path: Path) -> None:
    assert "line 2" in refusal(tmp_path, "mode = 'full'\n= 3\n")


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    """Windows' editors write one."""
    (tmp_path / "days.toml").write_bytes(b"\xef\xbb\xbfyears = [2027]\n")
    text = '\ufeffruntime_dir = "here"\r\n[market]\r\ncalendar = "days.toml"\r\n'
    path = write(tmp_path, "")
    path.write_bytes(text.encode())
    assert config.load(path).runtime_dir == tmp_path / "here"
    assert location.runtime_dir(path) == tmp_path / "here"


def test_a_configuration_that_only_others_may_read_is_an_error_and_no_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KITEFEED_CONFIG", "")
    monkeypatch.chdir(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"cannot be read .*Permission denied"):
        config.load()


def test_a_named_file_that_does_not_exist_is_an_error_and_no_fallback(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        config.load(tmp_path / "other.toml")


def test_a_runtime_directory_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    assert "too long for a socket" in refusal(tmp_path, f'runtime_dir = "{"x" * 110}"\n')


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    settings = config.load(write(tmp_path, 'runtime_dir = "run"\n[session]\nfile = "s.json"\n'))
    assert settings.runtime_dir == tmp_path / "run"
    assert settings.session_path == tmp_path / "s.json"


def test_state_files_lie_in_the_state_directory(tmp_path: Path) -> None:
    settings = config.load(write(tmp_path, 'state_dir = "state"\n'))
    assert settings.session_path == tmp_path / "state" / "session.json"
    assert settings.standby_path == tmp_path / "state" / "standby.json"
    assert settings.watch_path is None


def test_a_broken_file_still_says_where_the_sockets_are(tmp_path: Path) -> None:
    path = write(tmp_path, 'runtime_dir = "run"\nnonsense = 1\n')
    assert config.fallback(path).runtime_dir == tmp_path / "run"


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITEFEED_CONFIG", str(write(tmp_path, 'mode = "ltp"\n')))
    assert config.load().config.mode == "ltp"


@pytest.mark.parametrize("name", ["rest_url", "ws_url", "login_url"])
@pytest.mark.parametrize("host", ["api.kite.trade", "10.0.0.1", "localhost.evil.com", "127.0.0.1x"])
def test_a_session_is_not_sent_over_the_network_unencrypted(
    tmp_path: Path, name: str, host: str
) -> None:
    scheme = "ws" if name == "ws_url" else "http"
    sentence = refusal(tmp_path, f'[kite]\n{name} = "{scheme}://{host}/"\n')
    assert "unencrypted" in sentence
    config.load(write(tmp_path, f'[kite]\n{name} = "{scheme}s://{host}/"\n'))
    config.load(write(tmp_path, f'[kite]\n{name} = "{scheme}://127.0.0.1:8787"\n'))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:5556", "tcp://*:5556", "tcp://localhost:5556", "tcp://127.0.0.1",
        "tcp://127.0.0.1:0", "ipc:///tmp/x", "tcp://127.0.0.1:5556,tcp://0.0.0.0:1",
        "tcp://127.0.0.1:5556\\n",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_tcp_feed_is_refused(tmp_path: Path, address: str) -> None:
    assert "feed.tcp" in refusal(tmp_path, f'[feed]\ntcp = "{address}"\n')


@pytest.mark.parametrize("address", ["", "tcp://127.0.0.1:5556", "tcp://[::1]:5556"])
def test_an_address_of_a_tcp_feed_is_taken_as_it_is(tmp_path: Path, address: str) -> None:
    settings = config.load(write(tmp_path, f'state_dir = "s"\n[feed]\ntcp = "{address}"\n'))
    assert settings.config.feed.tcp == address
    assert settings.keys_path == tmp_path / "s" / "keys"


@pytest.mark.parametrize("value", ["tcp://127.0.0.1:5555", "tcp://*:1", "/run/x"])
def test_no_configuration_puts_a_wire_on_the_network(tmp_path: Path, value: str) -> None:
    """Only the feed has a second address, and that one is `feed.tcp`."""
    settings = config.load(write(tmp_path, f'runtime_dir = "{value}"\n'))
    for address in topology.endpoints(settings.runtime_dir).values():
        assert address.startswith("ipc:///")
    for name in ("control", "bus", "ingest"):
        assert "not a setting" in refusal(tmp_path, f'[feed]\n{name} = "tcp://127.0.0.1:5555"\n')
        assert "not a setting" in refusal(tmp_path, f'{name} = "tcp://127.0.0.1:5555"\n')


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ('instruments = ["INFY"]', "write EXCHANGE:SYMBOL"),
        ('canaries = ["nifty"]', "write EXCHANGE:SYMBOL"),
        ('mode = "Full"', "none of ltp, quote, full"),
        ('[market]\nhours = "open"', "none of calendar, always, never"),
        ('[kite]\napi_key = " x y&"', "letters and digits"),
        ('[kite]\nrest_url = "api.kite.trade"', "starts with https://"),
        ('[session]\nfile = "a"\n[session.standby]\nfile = "a"', "overwrite each other"),
    ],
)
def test_a_wrong_value_is_refused_in_words_that_say_what_to_write(
    tmp_path: Path, text: str, remedy: str
) -> None:
    path = tmp_path / "kitefeed.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert remedy in str(caught.value)
    assert "regex" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        'urls = ["hunter2-secret"]', 'urls = "tgram://hunter2-secret"', "urls = [5]",
        'webhook = "ftp://hunter2-secret"', 'heartbeat_url = "hunter2-secret"',
        'webhook = "https://"', 'webhook = ["https://hunter2-secret"]', 'command = [""]',
        'command = "page-me hunter2-secret"', "remind_min = 14", "urlz = ['tgram://hunter2-secret']",
    ],
)  # fmt: skip
def test_a_wrong_alert_is_refused_by_its_setting_and_its_url_is_not_repeated(
    tmp_path: Path, line: str
) -> None:
    sentence = refusal(tmp_path, f"[alerts]\n{line}\n")
    assert f"alerts.{line.partition(' ')[0]}" in sentence
    assert "hunter2" not in sentence


def test_the_urls_of_alerts_are_secrets(tmp_path: Path) -> None:
    line = 'urls = ["tgram://hunter2/1"]\nwebhook = "https://x.example/hunter2"\n'
    settings = config.load(write(tmp_path, f"[alerts]\n{line}"))
    assert "hunter2" not in repr(settings)
    assert settings.config.alerts.urls[0].reveal() == "tgram://hunter2/1"


# --- the gateway, where others could reach it ---------------------------------------------------

CERTIFIED = 'certificate = "both.pem"\nkey = "both.pem"\n'


@pytest.mark.parametrize("listen", ["0.0.0.0:8787", "192.168.1.5:8787", "[::]:8787", "[fe80::1]:1"])
def test_a_gateway_that_others_can_reach_needs_a_certificate_and_at_its_start_a_token(
    tmp_path: Path, listen: str
) -> None:
    bare = f'state_dir = "state"\n[gateway]\nlisten = "{listen}"\n'
    assert "gateway.certificate" in refusal(tmp_path, bare)
    path = write(tmp_path, bare + CERTIFIED)
    config.load(path)  # the command that makes the token needs it, too
    with pytest.raises(ConfigError, match="kitefeed keys --gateway NAME"):
        config.load_for_daemon(path)
    token = passwords.path_of(tmp_path / "state/keys", "phone", passwords.GATEWAY)
    token.parent.mkdir(parents=True)
    token.write_text("")
    config.load_for_daemon(path)


@pytest.mark.parametrize("listen", ["", "127.0.0.1:8787", "127.9.9.9:1", "[::1]:8787"])
def test_a_gateway_of_this_host_alone_needs_neither(tmp_path: Path, listen: str) -> None:
    config.load_for_daemon(write(tmp_path, f'[gateway]\nlisten = "{listen}"\n'))


def test_a_token_does_not_belong_into_the_file(tmp_path: Path) -> None:
    for token in ('"hunter2hunter2hunter2"', '""', "5"):
        sentence = refusal(tmp_path, f"[gateway]\ntoken = {token}\n")
        assert "gateway.token: is a secret" in sentence
        assert "hunter2" not in sentence


@pytest.mark.parametrize("line", ['certificate = "a.pem"', 'key = "a.pem"'])
def test_certificate_and_key_belong_together(tmp_path: Path, line: str) -> None:
    assert "name both" in refusal(tmp_path, f"[gateway]\n{line}\n")


@pytest.mark.parametrize("name", ["", "https://x.example", "x.example/", "x y", "x:0", "a\\nb"])
def test_a_name_that_no_browser_could_ask_for_is_refused(tmp_path: Path, name: str) -> None:
    sentence = refusal(tmp_path, f'[gateway]\nnames = ["{name}"]\n')
    assert "write a host's name or address" in sentence


@pytest.mark.parametrize(
    ("lines", "url"),
    [
        ("", "http://127.0.0.1:8787"),
        ('listen = ""', ""),
        ('listen = "[::1]:99"', "http://[::1]:99"),
        (f'listen = "0.0.0.0:99"\n{CERTIFIED}', "https://127.0.0.1:99"),
        (f'listen = "0.0.0.0:99"\nnames = ["x.example"]\n{CERTIFIED}', "https://x.example:99"),
        ('names = ["x.example:443"]', "http://x.example:443"),
        ('names = ["[::1]"]', "http://[::1]:8787"),
    ],
)
def test_links_lead_to_where_browsers_reach_it(tmp_path: Path, lines: str, url: str) -> None:
    assert config.load(write(tmp_path, f"[gateway]\n{lines}\n")).config.gateway.url == url
