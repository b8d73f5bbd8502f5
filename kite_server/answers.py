"""REST as Kite answers it: envelopes, errors, and the credentials of a request."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from kitefeed.protocol.kite.rest import error_envelope, success_envelope

REQUEST_LINE_BYTES_MAX = 16 * 1024  # the server in front of Kite answers 414 beyond
_ERROR_TYPES = {
    400: ("InputException", "Invalid request."),
    403: ("TokenException", "Incorrect `api_key` or `access_token`."),
    404: ("GeneralException", "Route not found"),
    405: ("GeneralException", "Method not allowed"),
    429: ("NetworkException", "Too many requests"),
    503: ("NetworkException", "Request failed (kitetrade-oms)"),
}
_HTML_STATUSES = frozenset({414, 502, 504})  # answered by the proxy in front, which knows no JSON

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RestError(Exception):
    """An answer other than success: its HTTP status, error type and message."""

    def __init__(self, status: int, error_type: str = "", message: str = "") -> None:
        default = _ERROR_TYPES.get(status, ("GeneralException", "Something went wrong"))
        self.status = status
        self.error_type = error_type or default[0]
        self.message = message or default[1]
        super().__init__(self.message)


class InputError(RestError):
    """A request with a missing or bad parameter; the sentence names it."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "InputException", message)


async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Return the handler's answer, or the envelope of the error that it raised. A request line that
    is too long reaches no handler."""
    try:
        if len(request.raw_path) >= REQUEST_LINE_BYTES_MAX:
            raise RestError(414)
        return await handler(request)
    except RestError as error:
        return error_response(error)
    except web.HTTPException as error:  # no such route, or not with this method
        return error_response(RestError(error.status))


def error_response(error: RestError) -> web.Response:
    if error.status in _HTML_STATUSES:
        title = f"{error.status} {HTTPStatus(error.status).phrase}"
        page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return web.Response(status=error.status, text=page, content_type="text/html")
    body = error_envelope(error.message, error.error_type)
    return web.Response(status=error.status, body=body, content_type="application/json")


def success(data: object) -> web.Response:
    return web.Response(body=success_envelope(data), content_type="application/json")


def credentials_of(request: web.Request) -> tuple[str, str]:
    """Return key and access token of `Authorization: token key:token`; two "" when there are
    none."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    key, _, token = rest.partition(":")
    return (key, token) if scheme == "token" else ("", "")


async def form_of(request: web.Request) -> dict[str, str]:
    """Return the fields of a form-encoded body; those that are files are left out."""
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
