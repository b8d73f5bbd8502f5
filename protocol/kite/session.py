"""The login of Kite Connect (kite.trade/docs/connect/v3/user): the parts that are pure."""

import hashlib
import re
from urllib.parse import parse_qs, quote, unquote, urlsplit

LOGIN_PAGE = "https://kite.zerodha.com/connect/login"
# Kite's are 32 letters and digits; the bounds keep a pasted sentence or URL out.
_AMPERSAND = re.compile(r"&(?:amp|#38|#x26);", re.IGNORECASE)
_AROUND = " \t\r\n\ufeff\u200b\xa0\"'`<>()[]“”‘’«»"
_REQUEST_TOKEN = re.compile(r"[A-Za-z0-9_-]{6,128}")


def checksum(api_key: str, request_token: str, api_secret: str) -> str:
    """Return the checksum for `/session/token`: lower-case hex SHA-256 of the three, joined by
    nothing."""
    return hashlib.sha256(f"{api_key}{request_token}{api_secret}".encode()).hexdigest()


def login_url(api_key: str) -> str:
    """Return the page on which the user logs in; Kite then redirects with a request token."""
    return f"{LOGIN_PAGE}?v=3&api_key={quote(api_key, safe='')}"


def unquoted(text: str) -> str:
    """Strip quotes, brackets and a byte order mark off a pasted text."""
    return text.strip(_AROUND)


def request_token_from_redirect(text: str) -> str:
    """Return the request token in a redirected URL (or its query), or the text itself when it is a
    bare token.

    ValueError with one sentence for the operator otherwise. The sentence never quotes the text:
    a request token is a secret for the minutes it lives.
    """
    text = _as_typed(text)
    if _REQUEST_TOKEN.fullmatch(text):
        return text
    query = _redirect_query(text)
    _refuse_unless("status", "success", query)
    _refuse_unless("action", "login", query)
    tokens = set(query.get("request_token", []))
    if not tokens and "api_key" in query:
        raise ValueError(
            "this is the address of the login page: open it, log in, and paste the address that "
            "the browser is sent to"
        )
    if not tokens:
        raise ValueError("the redirected URL has no request_token: log in again")
    token = tokens.pop()
    if tokens or not _REQUEST_TOKEN.fullmatch(token):
        raise ValueError("the request_token of the redirected URL is damaged: log in again")
    return token


def _as_typed(text: str) -> str:
    """Return the address as the browser had it: without the quotes it was pasted in, the
    backslashes of a shell, and the escapes of an HTML page or of another address that held it."""
    text = unquoted(text).replace("\\", "")
    if "=" not in text and "%3D" in text.upper():
        text = unquote(text)
    while (plain := _AMPERSAND.sub("&", text)) != text:
        text = plain
    return text


def _redirect_query(text: str) -> dict[str, list[str]]:
    try:
        return parse_qs(urlsplit(text).query or text)
    except ValueError as error:
        raise ValueError("this is neither a redirected URL nor a request token") from error


def _refuse_unless(name: str, wanted: str, query: dict[str, list[str]]) -> None:
    # Absent is accepted: a query pasted in part still holds a token that the exchange will judge.
    values = query.get(name, [wanted])
    if values != [wanted]:
        raise ValueError(f"the login did not succeed ({name} is not {wanted}): log in again")
