"""Kite's address answered by somebody else: the token goes nowhere, and the reason says why."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.actors.runtime.kite_rest import KiteRest, RestFailure
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.secrets import Secret
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.kite.rest import RestFault
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topology import Role
from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator
from tests.integration.stage import Stage, deadline_ns
from tests.integration.tls import Authority, HttpProxy, TlsServer

pytestmark = pytest.mark.processes


@pytest.fixture
def kite() -> Iterator[RunningSimulator]:
    with running_simulator(Simulator(tick_hz=10)) as running:
        yield running


@pytest.fixture
def stage(kite: RunningSimulator) -> Iterator[Stage]:
    facts = kite.credentials()
    made = Stage(kite.rest_url, kite.ws_url, str(facts["api_key"]), str(facts["access_token"]))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Trusted by every process that the test starts from now on."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    return made


def try_link(stage: Stage, host: str, port: int) -> None:
    stage.set_ws_url(f"wss://{host}:{port}")
    fingerprint = stage.save_session(next(iter(stage.secrets)))
    stage.start(Role.TICKER)
    stage.send(m.OpenLink(0, 1, fingerprint, deadline_ns()))


@pytest.mark.parametrize(
    ("host", "is_self_signed", "days", "reason"),
    [
        ("localhost", True, 1, "not signed by an authority that this machine trusts"),
        ("localhost", False, -1, "not valid at this time"),
        ("elsewhere.example", False, 1, "belongs to another host than localhost"),
    ],
)
def test_a_wrong_certificate_is_refused_with_the_reason_and_sees_no_token(
    stage: Stage, kite: RunningSimulator, authority: Authority,
    host: str, is_self_signed: bool, days: int, reason: str,
) -> None:  # fmt: skip
    certificate = authority.certificate(host, is_self_signed=is_self_signed, days=days)
    with TlsServer(certificate, kite.ws_url) as server:
        try_link(stage, "localhost", server.port)
        closed = stage.report(m.LinkClosed)
        assert server.heard == []
    assert reason in closed.reason


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_right_certificate_is_accepted(
    stage: Stage, kite: RunningSimulator, authority: Authority, host: str
) -> None:
    with TlsServer(authority.certificate(host), kite.ws_url) as server:
        try_link(stage, host, server.port)
        stage.report(m.LinkOpened)
        assert server.heard


def test_the_same_certificate_without_its_authority_is_refused(
    stage: Stage, kite: RunningSimulator, tmp_path: Path
) -> None:
    with TlsServer(Authority(tmp_path).certificate("localhost"), kite.ws_url) as server:
        try_link(stage, "localhost", server.port)
        assert "trusts" in stage.report(m.LinkClosed).reason


def test_what_does_not_speak_tls_is_refused(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        try_link(stage, "localhost", server.getsockname()[1])
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            assert "TLS" in stage.report(m.LinkClosed).reason


@pytest.mark.parametrize(
    ("host", "is_self_signed"), [("localhost", True), ("other.example", False)]
)
def test_a_wrong_certificate_of_the_rest_api_sees_no_token_either(
    kite: RunningSimulator, authority: Authority, monkeypatch: pytest.MonkeyPatch,
    host: str, is_self_signed: bool,
) -> None:  # fmt: skip
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.path))
    certificate = authority.certificate(host, is_self_signed=is_self_signed)
    with TlsServer(certificate, kite.rest_url) as server:
        rest = KiteRest(
            Kite(rest_url=f"https://localhost:{server.port}"), Session("k", Secret("t" * 32)), 3
        )
        with pytest.raises(RestFailure, match="certificate") as caught:
            rest.profile()
        assert server.heard == []
    assert caught.value.fault is RestFault.NETWORK


# --- ways to Kite: a proxy, and more than one address ---------------------------------------------

KITE = "kite.example"  # nobody's name: only a proxy, or the resolver below, knows where it is


def use_proxy(monkeypatch: pytest.MonkeyPatch, proxy: HttpProxy, login: str = "") -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://{login}127.0.0.1:{proxy.port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_the_socket_and_rest_both_go_through_the_proxy_of_the_environment(
    stage: Stage, kite: RunningSimulator, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.path))
    certificate = authority.certificate(KITE)
    login = "Basic dXNlcjpwYXNzOndvcmQ="  # user, pass:word
    with TlsServer(certificate, kite.ws_url) as server, HttpProxy(server.port) as proxy:
        use_proxy(monkeypatch, proxy, "user:pass%3Aword@")
        try_link(stage, KITE, 443)
        stage.report(m.LinkOpened)
        (head,) = proxy.asked
    lines = head.decode().splitlines()
    assert lines[:3] == [
        f"CONNECT {KITE}:443 HTTP/1.1", f"Host: {KITE}:443", f"Proxy-Authorization: {login}"
    ]  # fmt: skip
    token = next(iter(stage.secrets))
    with TlsServer(certificate, kite.rest_url) as server, HttpProxy(server.port) as proxy:
        use_proxy(monkeypatch, proxy, "user:pass%3Aword@")
        session = Session(stage.api_key, Secret(token))
        KiteRest(Kite(rest_url=f"https://{KITE}"), session, 3).profile()
        assert f"Proxy-Authorization: {login}".lower() in proxy.asked[0].decode().lower()


def test_behind_a_proxy_a_certificate_of_another_host_is_refused_and_sees_no_token(
    stage: Stage, kite: RunningSimulator, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = authority.certificate("elsewhere.example")
    with TlsServer(certificate, kite.ws_url) as server, HttpProxy(server.port) as proxy:
        use_proxy(monkeypatch, proxy)
        try_link(stage, KITE, 443)
        assert f"belongs to another host than {KITE}" in stage.report(m.LinkClosed).reason
        assert server.heard == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407 Proxy Authentication"),
        (b"HTTP/1.1 403 Forbidden\r\nX: y\r\n\r\n", "403 Forbidden"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n", "the proxy"),
        (b"rubbish\r\n\r\n", "rubbish"),
    ],
)
def test_what_a_proxy_refuses_is_told_as_the_proxys_and_is_no_refusal_of_kite(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, answer: bytes, reason: str
) -> None:
    with HttpProxy(9, answer) as proxy:
        use_proxy(monkeypatch, proxy)
        try_link(stage, KITE, 443)
        said = stage.report(m.LinkClosed).reason
        assert f"the proxy 127.0.0.1:{proxy.port} refused" in said
        assert reason in said
        assert not [report for report in stage.reports if isinstance(report, m.LinkRefused)]


def test_loopback_is_reached_without_the_proxy(
    stage: Stage, kite: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpProxy(9) as proxy:
        use_proxy(monkeypatch, proxy)
        fingerprint = stage.save_session(next(iter(stage.secrets)))
        stage.start(Role.TICKER)
        stage.send(m.OpenLink(0, 1, fingerprint, deadline_ns()))
        stage.report(m.LinkOpened)
        assert proxy.asked == []


RESOLVER = """
import socket
known = socket.getaddrinfo
def found(host, *arguments, **options):
    if host != "{host}" and host != b"{host}":
        return known(host, *arguments, **options)
    return [one for address in {addresses} for one in known(address, *arguments, **options)]
socket.getaddrinfo = found
"""


@pytest.mark.parametrize(
    ("addresses", "listens"),
    [
        (["::1"], "::1"),
        (["127.0.0.9", "::1"], "::1"),
        (["::1", "127.0.0.1"], "127.0.0.1"),
    ],
)
def test_all_addresses_that_the_resolver_gives_are_tried(
    stage: Stage, kite: RunningSimulator, authority: Authority, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], listens: str,
) -> None:  # fmt: skip
    text = RESOLVER.format(host=KITE, addresses=addresses)
    (tmp_path / "sitecustomize.py").write_text(text)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    with TlsServer(authority.certificate(KITE), kite.ws_url, listens) as server:
        try_link(stage, KITE, server.port)
        stage.report(m.LinkOpened)


def test_an_address_of_ipv6_may_be_named(
    stage: Stage, kite: RunningSimulator, authority: Authority
) -> None:
    with TlsServer(authority.certificate("::1"), kite.ws_url, "::1") as server:
        try_link(stage, "[::1]", server.port)
        stage.report(m.LinkOpened)
