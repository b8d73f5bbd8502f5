"""`nats://` as the address of a feed. What needs the extra `kitefeed[nats]` is imported only
then."""

import os
from typing import TYPE_CHECKING

from kitefeed.protocol.errors import BadInput

if TYPE_CHECKING:
    from kitefeed.client.nats_link import Link

SCHEMES = ("nats://", "tls://")


def linked(
    endpoint: str,
    credentials: str | os.PathLike[str] | None,
    tls: bool | str | os.PathLike[str],
    name: str | None,
) -> "Link | None":
    """A link that has begun, for an address of NATS; None for any other. Raises BadInput and
    ConfigError for what cannot be used."""
    if not endpoint.startswith(SCHEMES):
        if credentials is not None or tls is not False:
            raise BadInput("credentials and tls are for NATS: endpoint='nats://HOST:4222'")
        return None
    from kitefeed.client import nats_wire
    from kitefeed.client.nats_link import Link

    nats_wire.new_client()
    address, login = nats_wire.address_of(endpoint), nats_wire.login_of(credentials, tls)
    link = Link(address, login, name or "kitefeed")
    link.start()
    return link
