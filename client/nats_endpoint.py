"""`nats://` as the address of a feed. What needs the extra `kitefeed[nats]` is imported only
then."""

import os
from datetime import datetime
from typing import TYPE_CHECKING

from kitefeed.client.bars import moment_ns
from kitefeed.client.nats_history import NatsHistory
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import BadInput

if TYPE_CHECKING:
    from kitefeed.client.nats_link import NatsLink

SCHEMES = ("nats://", "tls://")


def linked(
    endpoint: str,
    credentials: str | os.PathLike[str] | None,
    tls: bool | str | os.PathLike[str],
    name: str | None,
    since: str | datetime | None,
    *,
    is_asking: bool,
) -> "NatsLink | None":
    """A link that has begun, for an address of NATS; None for any other. is_asking: the program
    wants what only the daemon can do. Raises BadInput and ConfigError for what cannot be used."""
    if not endpoint.startswith(SCHEMES):
        if credentials is not None or tls is not False:
            raise BadInput("credentials and tls are for NATS: endpoint='nats://HOST:4222'")
        return None
    if is_asking:
        raise BadInput(
            "mode= and per_second= ask the daemon, which is not reached over NATS: leave them out"
        )
    from kitefeed.client import nats_wire
    from kitefeed.client.nats_link import NatsLink

    nats_wire.new_client()
    address, login = nats_wire.address_of(endpoint), nats_wire.login_of(credentials, tls)
    history = None if since is None else NatsHistory(moment_ns(since, utc_ns()))
    link = NatsLink(address, login, name or "kitefeed", history)
    link.start()
    return link
