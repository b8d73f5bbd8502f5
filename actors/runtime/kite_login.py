"""The login of Kite Connect: the link that a person opens, and the exchange of the token it
brings."""

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import msgspec

from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.secrets import Secret, redact, remember
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import KitefeedError, LoginNeeded, Unavailable
from kitefeed.protocol.kite.session import LOGIN_PAGE, login_url

EXCHANGE_S = 7.0  # per request, as the official client; a person waits for it
CLOCK_OFF_S = 30.0  # the one-time codes of a login change as often
REMEMBER = "`kitefeed login --remember-secret` stores another"


def link(kite: Kite, api_key: str, state: str = "") -> str:
    """Return Kite's login page for this app, at the address the configuration names. Kite hands
    `state` back with the redirect."""
    page = login_url(api_key).replace(LOGIN_PAGE, kite.login_url, 1)
    return f"{page}&redirect_params={quote(urlencode({'state': state}))}" if state else page


def exchange(kite: Kite, api_key: str, request_token: Secret, api_secret: Secret) -> Session:
    """Exchange a request token for a session, by the official client; the one place that does it.

    Raises LoginNeeded when Kite refuses, Unavailable when it does not answer. A request token works
    once, and for a few minutes.
    """
    remember(request_token)
    return _asked(
        kite,
        api_key,
        api_secret,
        lambda client: client.generate_session(request_token.reveal(), api_secret.reveal()),
    )


def renew(kite: Kite, session: Session, api_secret: Secret) -> Session:
    """Fetch the next session of an app that Kite gives refresh tokens. Raises as `exchange`
    does."""
    if session.refresh_token is None:
        raise LoginNeeded("Kite gave no refresh token with this session: log in")
    refresh_token = session.refresh_token.reveal()
    renewed = _asked(
        kite,
        session.api_key,
        api_secret,
        lambda client: client.renew_access_token(refresh_token, api_secret.reveal()),
    )
    return msgspec.structs.replace(
        renewed,
        refresh_token=renewed.refresh_token or session.refresh_token,
        user_id=renewed.user_id or session.user_id,
        user_name=renewed.user_name or session.user_name,
    )


def _asked(kite: Kite, api_key: str, api_secret: Secret, call: Callable[[Any], Any]) -> Session:
    # Imported here: it takes a third of a second, and only a login needs it.
    from kiteconnect.exceptions import KiteException
    from requests import RequestException
    from requests.exceptions import SSLError

    from kitefeed.actors.runtime.kite_rest import KiteConnect

    remember(api_secret)
    client = KiteConnect(api_key=api_key, root=kite.rest_url, timeout=EXCHANGE_S)
    client._routes = kite.routes(client._routes)
    dates: list[str] = []
    client.reqsession.hooks["response"].append(
        lambda response, *_, **__: dates.append(response.headers.get("Date", ""))
    )
    try:
        return _session(api_key, call(client))
    except KiteException as error:
        offset_s = clock_offset_s(dates[-1]) if dates else None
        raise refusal(redact(str(error)), error.code, offset_s) from None
    except SSLError:
        raise Unavailable(
            f"The certificate of {kite.rest_url} is not accepted: correct this host's clock "
            "(`timedatectl`) and its ca-certificates, and look for a proxy; `kitefeed doctor` tells"
        ) from None
    except RequestException as error:
        name = type(error).__name__
        raise Unavailable(
            f"Kite does not answer at {kite.rest_url} ({name}): try again; `kitefeed doctor` tells "
            "what is in the way"
        ) from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # of the official client
        raise Unavailable(
            f"What answers at {kite.rest_url} is no answer of Kite to a login "
            f"({type(error).__name__}): try again; `kitefeed doctor` tells what is in the way"
        ) from None


def _session(api_key: str, answer: Any) -> Session:
    refresh_token = answer.get("refresh_token")
    login_time = answer.get("login_time")
    return Session(
        api_key,
        remember(Secret(answer["access_token"])),
        answer.get("user_id"),
        answer.get("user_name"),
        str(login_time) if login_time else None,
        remember(Secret(refresh_token)) if refresh_token else None,
    )


def clock_offset_s(date: str) -> float | None:
    """Return how far this host's clock is ahead of an answer's `Date`, to a second or two; None
    when it has none."""
    try:
        return utc_ns() / 1e9 - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def refusal(text: str, code: int, clock_offset_s: float | None = None) -> KitefeedError:
    """Say what Kite's refusal of a login means, and what to do."""
    if code >= 500 or code == 429:
        return Unavailable(f"Kite cannot answer now ({text}): try again in a minute")
    if clock_offset_s is not None and abs(clock_offset_s) > CLOCK_OFF_S:
        way = "ahead of" if clock_offset_s > 0 else "behind"
        return LoginNeeded(
            f"Kite refused the login ({text}), and this host's clock is "
            f"{abs(clock_offset_s):,.0f} s {way} Kite's: put it right (`timedatectl set-ntp "
            f"true`), then log in once more. If it is refused again: {_remedy(text)}"
        )
    return LoginNeeded(f"Kite refused the login ({text}): {_remedy(text)}")


def _remedy(text: str) -> str:
    said = text.lower()
    if "checksum" in said:
        return (
            "the app's secret is not that of this api_key; copy it from developers.kite.trade and "
            f"log in once more; where a wrong one is kept, {REMEMBER}"
        )
    if "not enabled" in said:
        return (
            "this user is not one of the app's; log in as its owner, or add the user's id to the "
            "app on developers.kite.trade"
        )
    if "api_key" in said:
        return (
            "Kite knows no active app with this api_key; correct kite.api_key, or renew the app on "
            "developers.kite.trade"
        )
    if "token" in said:
        return (
            "the request token was used already, or is more than a few minutes old; log in once "
            "more, and let nothing else use the redirect"
        )
    return "open the link and log in once more"


def elsewhere(kite: Kite, redirected: str) -> str:
    """Say that the app's registered redirect URL is not the configured one. `redirected` is the
    address to which Kite sent a browser; "" when it is the same, or none was given."""
    try:
        found, wanted = urlsplit(redirected.strip()), urlsplit(kite.redirect_url)
        is_same = _place(found) == _place(wanted)
    except ValueError:
        return ""
    if found.scheme not in ("http", "https") or is_same:
        return ""
    registered = f"{found.scheme}://{found.netloc}{found.path}"
    return (
        f"The redirect URL that is registered for this app is {registered}, and the configuration "
        f"says {kite.redirect_url}: {set_redirect(kite)}, or write that one into "
        "kite.redirect_url; until then only `kitefeed login --paste` works"
    )


def leads_to(kite: Kite, url: str) -> bool:
    """Whether the configured redirect URL is `url`, an address of this host; the configuration may
    call it `localhost`."""
    return "" in (
        elsewhere(kite, url),
        elsewhere(kite, url.replace("//127.0.0.1:", "//localhost:")),
    )


def set_redirect(kite: Kite) -> str:
    """Say how to register the redirect URL."""
    return (
        f"set it to {kite.redirect_url} on developers.kite.trade (My apps, the app, Redirect URL)"
    )


def _place(url: SplitResult) -> tuple[str, str | None, int, str]:
    port = url.port or (443 if url.scheme == "https" else 80)
    return url.scheme, url.hostname, port, url.path or "/"
