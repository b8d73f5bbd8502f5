"""Lets in who has a password of the owner's, or, where he says "any", who runs as him."""

from pathlib import Path
from typing import Literal

from aiohttp import web

from kitefeed.kite_server.answers import RestError, credentials_of
from kitefeed.kite_server.stream import Handshake
from kitefeed.protocol import passwords
from kitefeed.services.kite_endpoint import neighbours

ANYBODY = "this host"
REFUSED = (
    "This is kitefeed, not Kite: as access token give a password that "
    "`kitefeed keys --endpoint NAME` made."
)


class Doors:
    """`keys`: the directory of keys. policy "made": a password is needed; "any": none is, of
    processes of our own user."""

    def __init__(self, keys: Path, policy: Literal["made", "any"]) -> None:
        self._keys = keys
        self._policy = policy

    def owner_of_handshake(self, handshake: Handshake) -> str | None:
        return self._owner(handshake.access_token, handshake.transport)

    def owner_of_request(self, request: web.Request) -> str:
        """The name of the program. Raises RestError, in Kite's form, for a stranger."""
        owner = self._owner(credentials_of(request)[1], request.transport)
        if owner is None:
            raise RestError(403, "TokenException", REFUSED)
        return owner

    def _owner(self, password: str, transport: object) -> str | None:
        if password and (name := passwords.owner_of(self._keys, password)) is not None:
            return name
        if self._policy == "any" and _is_neighbour(transport):
            return ANYBODY
        return None


def _is_neighbour(transport: object) -> bool:
    get = getattr(transport, "get_extra_info", None)
    if get is None:
        return False
    peer, own = get("peername"), get("sockname")
    # Where the kernel does not tell, the host alone counts: `any` is refused on other addresses.
    return bool(peer and own and neighbours.is_ours(peer[:2], own[:2]) is not False)
