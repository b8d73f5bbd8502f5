"""The login of Kite Connect (kite.trade/docs/connect/v3/user): the parts that are pure."""

import hashlib
import re
from urllib.parse import parse_qs, quote, urlsplit

LOGIN_PAGE = "https://kite.zerodha.com/connect/login"
# Kite's are 32 letters and digits; the bounds keep a pasted sentence or URL out.
_REQUEST_TOKEN = re.compile(r"[A-Za-z0-9_-]{6,128}")


def checksum(api_key: str, request_token: str, api_secret: str) -> str:
    """What `/session/token` wants: lower-case hex SHA-256 of the three, joined by nothing."""
    return hashlib.sha256(f"{api_key}{request_token}{api_secret}".encode()).hexdigest()


def login_url(api_key: str) -> str:
    """The page on which the user logs in; Kite then redirects with a request token."""
    return f"{LOGIN_PAGE}?v=3&api_key={quote(api_key, safe='')}"


def request_token_from_redirect(text: str) -> str:
    """The request token in a redirected URL (or its query), or in itself when pasted bare.

    ValueError with one sentence for the operator otherwise. The sentence never quotes the text:
    a request token is a secret for the minutes it lives.
    """
    text = text.strip()
    if _REQUEST_TOKEN.fullmatch(text):
        return text
    query = _redirect_query(text)
    _refuse_unless("status", "success", query)
    _refuse_unless("action", "login", query)
    tokens = set(query.get("request_token", []))
    if not tokens:
        raise ValueError("the redirected URL has no request_token: log in again")
    token = tokens.pop()
    if tokens or not _REQUEST_TOKEN.fullmatch(token):
        raise ValueError("the request_token of the redirected URL is damaged: log in again")
    return token


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
