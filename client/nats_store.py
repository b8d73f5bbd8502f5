"""Asks JetStream directly for what it keeps: no consumer is made, and nothing is left behind. Needs
a server of 2.11 or later, whose answers come in batches."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from kitefeed.protocol.errors import Unavailable
from kitefeed.protocol.kite.units import NS_PER_S

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

BATCH = 500
WAIT_S = 2.0
_STATUS, _SEQUENCE, _SUBJECT = "Status", "Nats-Sequence", "Nats-Subject"
_PENDING = "Nats-Num-Pending"


class Stored(NamedTuple):
    """One message of a stream. `pending`: how many more match behind it, as of then."""

    subject: str
    seq: int
    data: bytes
    pending: int


class DirectGet(msgspec.Struct, omit_defaults=True):
    """A request of the direct get API; NATS reads it as JSON."""

    seq: int = 0
    next_by_subj: str = ""
    batch: int = 0
    start_time: str = ""
    last_by_subj: str = ""


async def newest(client: "Client", stream: str, subject: str) -> Stored | None:
    """The newest message of one subject; None when there is none. Raises Unavailable when the
    stream does not answer."""
    found = [one async for one in _ask(client, stream, DirectGet(last_by_subj=subject))]
    return found[0] if found else None


async def oldest(client: "Client", stream: str, subject: str) -> Stored | None:
    """The oldest message that matches `subject`. Raises Unavailable as `newest` does."""
    wanted = DirectGet(1, subject, 1)
    return next(iter([one async for one in _ask(client, stream, wanted)]), None)


async def read(
    client: "Client", stream: str, subject: str, seq: int = 1, start_time: str = ""
) -> AsyncIterator[Stored]:
    """Yield all messages that match `subject`, from this number, or from this time (RFC 3339), to
    the newest, in order. Raises Unavailable when the stream does not answer."""
    wanted = DirectGet(seq, subject, BATCH, start_time)
    if start_time:
        wanted.seq = 0
    while True:
        last = None
        async for last in _ask(client, stream, wanted):
            yield last
        if last is None or not last.pending:
            return
        wanted = DirectGet(last.seq + 1, subject, BATCH)


async def read_several(
    client: "Client", stream: str, subjects: list[str], seq: int = 1, start_time: str = ""
) -> AsyncIterator[Stored]:
    """Yield what `read` yields, for several filters that have nothing in common, in the order of
    the stream."""
    sources = [read(client, stream, subject, seq, start_time) for subject in subjects]
    heads = [(one.seq, n, one) for n, each in enumerate(sources)
             if (one := await anext(each, None)) is not None]  # fmt: skip
    heapify(heads)
    while heads:
        _, n, one = heads[0]
        yield one
        following = await anext(sources[n], None)
        if following is None:
            heappop(heads)
        else:
            heapreplace(heads, (following.seq, n, following))


def rfc3339(utc_ns: int) -> str:
    """Write a time as NATS reads it."""
    seconds, rest = divmod(utc_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


async def _ask(client: "Client", stream: str, wanted: DirectGet) -> AsyncIterator[Stored]:
    """Yield the answers to one request."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    try:
        request = msgspec.json.encode(wanted)
        await client.publish(f"$JS.API.DIRECT.GET.{stream}", request, reply=inbox)
        while True:
            try:
                message = await answers.next_msg(WAIT_S)
            except Exception as error:  # noqa: BLE001 - a timeout, a lost connection, of several kinds
                raise Unavailable(f"stream {stream} does not answer: {error}") from None
            found = _stored(stream, message)
            if found is None:
                return
            yield found
            if not wanted.batch:
                return
    finally:
        if not client.is_closed:
            await answers.unsubscribe()


def _stored(stream: str, message: "Msg") -> Stored | None:
    """Decode one answer; None for the end of the answers, or for "there is none"."""
    headers = message.headers or {}
    status = headers.get(_STATUS, "")
    if status in ("204", "404"):
        return None
    if status:
        about = "there is none" if status == "503" else headers.get("Description", status)
        raise Unavailable(f"stream {stream} does not answer: {about}")
    return Stored(
        headers[_SUBJECT], int(headers[_SEQUENCE]), message.data, int(headers.get(_PENDING, 0))
    )
