"""Kite's address answered by somebody else: the token goes nowhere, and the reason says why."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.actors.runtime.kite_rest import KiteRest, RestError
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.secrets import Secret
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol import messages as m
from kitefeed.protocol.kite.rest import RestFault
from kitefeed.protocol.topology import Role
from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator
from tests.integration.stage import Stage, deadline_ns
from tests.integration.tls import Authority, TlsServer

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
        with pytest.raises(RestError, match="certificate") as caught:
            rest.profile()
        assert server.heard == []
    assert caught.value.fault is RestFault.NETWORK
