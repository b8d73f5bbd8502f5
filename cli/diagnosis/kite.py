"""The way to Kite and back: names, proxy, TLS, REST, clock, WebSocket, session."""

import socket
import ssl
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from kitefeed.actors.runtime import session_file
from kitefeed.actors.runtime.config import Settings
from kitefeed.cli.diagnosis.finding import Finding, of_error, ok, skipped, warning, wrong
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.errors import KitefeedError
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.kite.rest import RestFault
from kitefeed.protocol.messages.status import StatusReport

ANSWER_S = 5.0
NIFTY_50 = 256265  # an index that every plan with market data may ask for
CLOCK_WARN_S, CLOCK_MAX_S = 1.5, 4.0  # `Date` has whole seconds; a tick stamped 5 s off is not new
NO_DATA = "take a plan with market data at developers.kite.trade; quotes are not in this one"


class RootResponse(NamedTuple):
    """The answer of Kite's REST root. offset_s: how far this host's clock is ahead of its `Date`;
    None where it sent none."""

    status: int
    took_s: float
    offset_s: float | None


def names(url: str, name: str) -> Finding:
    """Look up the addresses of `url`'s host, of both families."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        found = socket.getaddrinfo(host, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return wrong(
            name, f"{host} has no address ({error})",
            "look at the network and at /etc/resolv.conf", Exit.UNAVAILABLE,
        )  # fmt: skip
    v4 = len({row[4][0] for row in found if row[0] == socket.AF_INET})
    v6 = len({row[4][0] for row in found if row[0] == socket.AF_INET6})
    return ok(name, f"{host}: {v4} of IPv4, {v6} of IPv6")


def proxy(settings: Settings) -> Finding:
    """Look for a proxy in this shell's environment; the daemon has the one it was started in."""
    # Imported here: it takes a tenth of a second.
    from requests.utils import get_environ_proxies

    url = settings.config.kite.rest_url
    found = get_environ_proxies(url, no_proxy=None).get(urlsplit(url).scheme)
    if not found:
        return ok("proxy", "none")
    parts = urlsplit(found)
    return warning(
        "proxy", f"the environment names {parts.hostname}:{parts.port or _port(parts)} for REST",
        "if the WebSocket below fails: let both through it or neither, NO_PROXY=.kite.trade",
    )  # fmt: skip


def ask(settings: Settings) -> RootResponse | Finding:
    """Ask the REST root once, without a session; return a finding when there is no answer."""
    import requests

    url = settings.config.kite.rest_url
    began_ns = boot_ns()
    try:
        response = requests.get(url, timeout=ANSWER_S, allow_redirects=False,
                                auth=lambda request: request)  # fmt: skip
    except requests.exceptions.SSLError as error:
        return wrong(
            "TLS", f"{url}: the certificate is not accepted ({_reason(error)})",
            "correct this host's clock and its ca-certificates; a proxy that opens TLS needs its "
            "own in REQUESTS_CA_BUNDLE", Exit.UNAVAILABLE,
        )  # fmt: skip
    except requests.RequestException as error:
        return wrong(
            "REST", f"{url} does not answer ({type(error).__name__}: {_reason(error)})",
            "look at network, firewall and proxy", Exit.UNAVAILABLE,
        )  # fmt: skip
    took_s = (boot_ns() - began_ns) / 1e9
    return RootResponse(response.status_code, took_s, _offset(response.headers.get("Date"), took_s))


def _offset(date: str | None, took_s: float) -> float | None:
    try:
        kite_s = parsedate_to_datetime(date or "").timestamp() + 0.5
    except ValueError:
        return None
    return utc_ns() / 1e9 - took_s / 2 - kite_s


def tls(settings: Settings) -> Finding:
    parts = urlsplit(settings.config.kite.rest_url)
    if parts.scheme != "https":
        return skipped("TLS", "not used on this machine")
    try:
        with _connected(parts) as connection:
            # `_connected` wraps for https.
            until = ssl.cert_time_to_seconds(connection.getpeercert()["notAfter"])
            version = connection.version()
    except (OSError, KeyError, ValueError) as error:
        return wrong("TLS", f"{parts.hostname}: {_reason(error)}",
                     "correct this host's clock and its ca-certificates",
                     Exit.UNAVAILABLE)  # fmt: skip
    days = (until - utc_ns() / 1e9) / 86_400
    return ok("TLS", f"{version}, Kite's certificate is good for {days:.0f} days")


def rest(answer: RootResponse) -> Finding:
    text = f"answers {answer.status} in {answer.took_s * 1e3:.0f} ms"
    if answer.status >= 500:
        return wrong("REST", text, "Kite, or a proxy before it, has trouble: try again later",
                     Exit.UNAVAILABLE)  # fmt: skip
    return ok("REST", text)


def clock(answer: RootResponse) -> Finding:
    remedy = "keep the clock on NTP: `timedatectl set-ntp true`"
    if answer.offset_s is None:
        return skipped("clock", "Kite's answer has no Date")
    way = "ahead of" if answer.offset_s > 0 else "behind"
    text = f"{abs(answer.offset_s):.1f} s {way} Kite's"
    if abs(answer.offset_s) > CLOCK_MAX_S:
        return wrong("clock", text, remedy)
    return warning("clock", text, remedy) if abs(answer.offset_s) > CLOCK_WARN_S else ok(
        "clock", "as Kite's, to a second"
    )  # fmt: skip


def handshake(settings: Settings, report: StatusReport | None) -> Finding:
    """Try whether a WebSocket gets as far as Kite. Without a session Kite refuses it, so this takes
    none of the key's three sockets."""
    name = "WebSocket"
    live = [shard for shard in report.shards if shard.state == "live"] if report else []
    if live:
        return ok(name, f"{len(live)} open, by the daemon")
    parts = urlsplit(settings.config.kite.ws_url)
    try:
        with _connected(parts) as connection:
            connection.sendall(_upgrade(parts))
            status = connection.recv(64).split(b" ")[1:2]
    except OSError as error:
        return wrong(
            name, f"{parts.hostname} cannot be reached ({_reason(error)})",
            "look at firewall and proxy: it wants a direct way", Exit.UNAVAILABLE,
        )  # fmt: skip
    if status and status[0] in (b"400", b"401", b"403"):
        return ok(name, f"reached; it refuses who has no session ({status[0].decode()}), rightly")
    got = status[0].decode(errors="replace") if status else "nothing"
    return warning(name, f"answered {got}, where Kite refuses who has no session (403)",
                   "something between may answer in Kite's place: look at the proxy")  # fmt: skip


def session(settings: Settings, report: StatusReport | None) -> list[Finding]:
    """Look at session and entitlement: as the daemon knows them, else by one profile and one
    quote."""
    try:
        found = session_file.current(settings, "primary")
    except KitefeedError as error:
        return [of_error("session", error)]
    if found is None:
        return [wrong("session", "there is none", "`kitefeed login`", Exit.LOGIN)]
    if report is not None:
        return _as_told(report)
    return _as_asked(settings, found)


def _as_told(report: StatusReport) -> list[Finding]:
    text = f"{report.session}, says the daemon"
    if report.session == "refused":
        return [wrong("session", text, "`kitefeed login`", Exit.LOGIN)]
    found = [warning("session", text, "Kite has not confirmed it: see the lines above")]
    if report.session == "valid":
        found = [ok("session", text)]
    if report.feed == "no_entitlement":
        return [*found, wrong("entitlement", "no market data", NO_DATA, Exit.LOGIN)]
    if report.feed in ("live", "rest"):
        return [*found, ok("entitlement", "market data comes")]
    return [*found, skipped("entitlement", "shown by the first prices")]


def _as_asked(settings: Settings, found: session_file.Session) -> list[Finding]:
    from kitefeed.actors.runtime.kite_rest import KiteRest, RestFailure

    kite = KiteRest(settings.config.kite, found, ANSWER_S)
    try:
        kite.profile()
    except RestFailure as error:
        if error.fault is RestFault.TOKEN:
            return [wrong("session", f"Kite refuses it ({error.detail})",
                          "`kitefeed login`", Exit.LOGIN)]  # fmt: skip
        return [warning("session", f"Kite cannot be asked ({error.detail})", "see REST above")]
    told = [ok("session", "valid, says Kite")]
    try:
        kite.quote([NIFTY_50])
    except RestFailure as error:
        if error.fault is RestFault.PERMISSION:
            return [*told, wrong("entitlement", error.detail, NO_DATA, Exit.LOGIN)]
        return [*told, warning("entitlement", f"no quote ({error.detail})", "try again")]
    return [*told, ok("entitlement", "quotes are allowed")]


def _connected(parts: SplitResult) -> Any:
    """Open a connection, encrypted where the URL says so; what it raises is an OSError."""
    plain = socket.create_connection((parts.hostname or "", _port(parts)), ANSWER_S)
    if parts.scheme not in ("https", "wss"):
        return plain
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
    except BaseException:
        plain.close()
        raise


def _upgrade(parts: SplitResult) -> bytes:
    return (
        f"GET {parts.path or '/'}?api_key=doctor&access_token=none HTTP/1.1\r\n"
        f"Host: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        "X-Kite-Version: 3\r\n\r\n"
    ).encode()


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme in ("https", "wss") else 80)


def _reason(error: BaseException) -> str:
    """Return the innermost cause in a few words."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return " ".join(str(error).split())[:120] or type(error).__name__
