"""The Hello of this process: the part that is alike for every actor."""

from kitefeed import __version__
from kitefeed.actors.runtime.process import Runtime
from kitefeed.protocol.messages.membership import Hello, LinkReport
from kitefeed.protocol.topology import Role


def hello_of(
    runtime: Runtime, *, highest_epoch: int = 0, links: tuple[LinkReport, ...] = ()
) -> Hello:
    """Say who we are, proven by the role's lock, and what runs under which epoch."""
    return Hello(
        role=Role(runtime.role),
        boot_id=runtime.boot_id,
        pid=runtime.lock.holder.pid,
        start_ticks=runtime.lock.holder.start_ticks,
        version=__version__,
        highest_epoch=highest_epoch,
        links=links,
        misconfigured=runtime.misconfigured,
    )
