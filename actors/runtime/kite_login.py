"""The login of Kite Connect: the link a person opens, and the exchange of what it brings."""

from urllib.parse import quote, urlencode

from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.secrets import Secret, redact, remember
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.errors import KitefeedError, LoginNeeded, Unavailable
from kitefeed.protocol.kite.session import LOGIN_PAGE, login_url

EXCHANGE_S = 7.0  # per request, as the official client; a person waits for it


def link(kite: Kite, api_key: str, state: str = "") -> str:
    """Kite's login page for this app, at the place the configuration names. Kite hands `state` back
    with the redirect."""
    page = login_url(api_key).replace(LOGIN_PAGE, kite.login_url, 1)
    return f"{page}&redirect_params={quote(urlencode({'state': state}))}" if state else page


def exchange(kite: Kite, api_key: str, request_token: Secret, api_secret: Secret) -> Session:
    """A request token for a session, by the official client; the one place that does it.

    Raises LoginNeeded when Kite refuses, Unavailable when it does not answer. A request token works
    once, and for a few minutes.
    """
    # Imported here: it takes a third of a second, and only a login needs it.
    from kiteconnect.exceptions import KiteException
    from requests import RequestException

    from kitefeed.actors.runtime.kite_rest import KiteConnect

    remember(request_token)
    remember(api_secret)
    client = KiteConnect(api_key=api_key, root=kite.rest_url, timeout=EXCHANGE_S)
    client._routes = kite.routes(client._routes)
    try:
        answer = client.generate_session(request_token.reveal(), api_secret.reveal())
    except KiteException as error:
        raise refusal(redact(str(error)), error.code) from None
    except RequestException as error:
        name = type(error).__name__
        raise Unavailable(f"Kite does not answer at {kite.rest_url} ({name}): try again") from None
    return Session(
        api_key,
        remember(Secret(answer["access_token"])),
        answer.get("user_id"),
        answer.get("user_name"),
        str(answer["login_time"]),
    )


def refusal(text: str, code: int) -> KitefeedError:
    """What Kite's refusal of a login means, and what to do."""
    if code >= 500 or code == 429:
        return Unavailable(f"Kite cannot answer now ({text}): try again")
    if "checksum" in text.lower():
        return LoginNeeded(
            f"Kite refused the login ({text}): the api secret is not that of this app's api_key; "
            "copy it from developers.kite.trade, then `kitefeed login --paste` again"
        )
    if "not enabled" in text.lower():
        return LoginNeeded(
            f"Kite refused the login ({text}): this user is not one of the app's; log in as its "
            "owner, or add the user's id to the app on developers.kite.trade"
        )
    return LoginNeeded(f"Kite refused the login ({text}): open the link and log in once more")
