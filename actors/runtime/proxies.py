"""The HTTP proxy of the environment on the way to Kite, the same for REST and the WebSocket:
`https_proxy`, `all_proxy`, `no_proxy`, in either case, as `requests` reads them. Servers on this
host are never reached through one."""

import base64
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from requests.exceptions import InvalidProxyURL
from requests.utils import get_environ_proxies, select_proxy

from kitefeed.actors.runtime.secrets import remember
from kitefeed.protocol.secret import Secret

PORT = 80  # where the address of a proxy names none


class Proxy(NamedTuple):
    """The address of a proxy. authorization: the value of the header Proxy-Authorization, None
    without a name in the address."""

    host: str
    port: int
    authorization: Secret | None


def proxies_for(url: str) -> dict[str, str]:
    """Return the proxies as `requests` takes them. Raises as `proxy_for` does."""
    address = _address_for(url)
    return {} if address is None else {urlsplit(url).scheme: address}


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy on the way to `url`, whose scheme is http or https; None where there is
    none.

    Raises InvalidProxyURL, an OSError, when it cannot be used, with the remedy.
    """
    address = _address_for(url)
    if address is None:
        return None
    parts = urlsplit(address)
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = remember(Secret("Basic " + base64.b64encode(pair.encode()).decode()))
    return Proxy(parts.hostname or "", parts.port or PORT, authorization)


def _address_for(url: str) -> str | None:
    if _is_here(urlsplit(url).hostname or ""):
        return None
    address = select_proxy(url, get_environ_proxies(url))
    if not address:
        return None
    if "://" not in address:
        address = f"http://{address}"
    try:
        parts = urlsplit(address)
        is_usable = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise InvalidProxyURL(
            "the proxy that the environment names cannot be used: write http://HOST:PORT into "
            "https_proxy (or all_proxy), or name Kite's hosts in no_proxy"
        )
    if parts.password:
        remember(Secret(unquote(parts.password)))
        remember(Secret(parts.password))
    return address


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
