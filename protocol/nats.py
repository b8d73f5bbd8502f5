"""The feed on NATS: the subject of each topic, and the bridge's own messages. Pure.

A payload is the feed frame as ZeroMQ has it (`topic NUL array`), so that no subject is ever read
back. docs/nats.md is the public description.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

import msgspec

from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, NOTICE, NUL, ORDER, STATE_TOPIC, TICK

PREFIX = "kite"
PREFIX_PATTERN = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z"
# All printable ASCII but what NATS reserves (`.`, `*`, `>`, blanks) and the escape itself. `quote`
# never escapes a dot, so `escaped` does.
_SAFE = "!\"#$&'()+,/:;<=?@[\\]^`{|}"


def escaped(text: str) -> str:
    """Write one token of a subject: what NATS reserves, `%`, and all that is not ASCII become `%`
    and two hex digits for each byte of UTF-8, as in URLs: `NIFTY 50` is `NIFTY%2050`, `M&M` is
    `M&M`."""
    return quote(text, safe=_SAFE).replace(".", "%2E")


def unescaped(token: str) -> str:
    return unquote(token)


class Subjects:
    """The subjects under one prefix, and the streams that belong to it."""

    def __init__(self, prefix: str = PREFIX) -> None:
        self.prefix = prefix
        self.ticks = f"{prefix}.tick"
        self.state = f"{prefix}.state"
        self.heartbeat = f"{prefix}.hb"
        self.orders = f"{prefix}.order"
        self.notices = f"{prefix}.notice"
        self.bridge = f"{prefix}.bridge"  # the bridge's beats
        self.ask = f"{prefix}.ask"  # a request; the answer is a beat
        self.gap = f"{prefix}.gap"  # what the bridge gave up
        self.log = f"{prefix}.log"  # LAST's copies, in their order, for TICKS
        name = re.sub(r"[^A-Za-z0-9-]", "_", prefix).upper()
        self.last_stream = f"{name}_LAST"
        self.ticks_stream = f"{name}_TICKS"
        self.lease_bucket = f"{name}_LEASE"

    def of_topic(self, topic: bytes) -> str:
        """Return the subject for the frames of this topic (no NUL); empty for one that is not
        carried."""
        if topic.startswith(TICK):
            return f"{self.ticks}.{_tokens(topic[len(TICK) :].decode())}"
        if topic == HEARTBEAT_TOPIC:
            return self.heartbeat
        if topic == STATE_TOPIC:
            return self.state
        family, _, name = topic.decode().partition("/")
        if family in ("order", "notice") and name:
            return f"{self.prefix}.{family}.{escaped(name)}"
        return ""

    def of_keys(self, beginning: str) -> str:
        """Return a filter that covers all keys with this beginning: `kite.tick.NSE.*` for
        `NSE:NIFTY`. It brings other keys, too: NATS matches whole tokens only."""
        exchange, colon, _ = beginning.partition(":")
        return f"{self.ticks}.{escaped(exchange)}.*" if colon else f"{self.ticks}.>"

    def covering(self, topics: Iterable[bytes]) -> set[str]:
        """Return the subjects that bring all that these ZeroMQ subscriptions bring, each message
        once."""
        found: set[str] = set()
        for topic in topics:
            if topic.startswith(TICK):
                beginning = self.of_keys(topic[len(TICK) :].decode())
                found.add(self.of_topic(topic[:-1]) if topic.endswith(NUL) else beginning)
            elif topic.startswith(ORDER):
                found.add(f"{self.orders}.>")
            elif topic.startswith(NOTICE):
                found.add(f"{self.notices}.>")
        ticks = f"{self.ticks}."
        if f"{ticks}>" in found:
            return {each for each in found if not each.startswith(ticks)} | {f"{ticks}>"}
        wide = {each[:-1] for each in found if each.endswith(".*")}
        return {each for each in found
                if each.endswith("*") or each.rpartition(".")[0] + "." not in wide}  # fmt: skip

    def key_of(self, subject: str) -> str:
        """Return the instrument key of a subject of ticks."""
        exchange, _, symbol = subject.removeprefix(f"{self.ticks}.").partition(".")
        return f"{unescaped(exchange)}:{unescaped(symbol)}"

    def logged(self, subject: str) -> str:
        """Return the subject under which TICKS keeps what was published to `subject`."""
        return f"{self.log}{subject.removeprefix(self.prefix)}"


def _tokens(key: str) -> str:
    exchange, _, symbol = key.partition(":")
    return f"{escaped(exchange)}.{escaped(symbol)}"


def message_id(gen: int, topic: str, seq: int) -> str:
    """Return the `Nats-Msg-Id`: the same message has the same one, whoever sends it and how
    often."""
    return f"{gen}:{topic}:{seq}".translate(_ONE_LINE)


_ONE_LINE = {ord("\r"): "%0D", ord("\n"): "%0A"}


class BridgeBeat(msgspec.Struct):
    """On `kite.bridge`, every second and when something in it changes, and the answer to
    `kite.ask`. A map.

    term: of the lease; of two bridges the one with the higher is believed. bridge: one life of the
    bridge, a random word. gen: of the broadcaster whose frames it passes on; 0 while it has none.
    sent: ticks published in this life. stored: of these, from the first on, those that LAST has
    taken. is_whole: LAST holds the newest tick of every instrument, as of `stored`. given_up: ticks
    that were never published, in this life. at_utc_ns: when this was written, by the clock that the
    frames' times are of.
    """

    term: int
    bridge: str
    gen: int
    sent: int
    stored: int
    is_whole: bool
    given_up: int
    at_utc_ns: int


class BridgeGap(msgspec.Struct):
    """On `kite.gap`, and in TICKS: the ticks that the bridge gave up, told when NATS takes messages
    again. A map. Times are those at which the first and the last of them were received from Kite,
    UTC ns."""

    term: int
    bridge: str
    from_utc_ns: int
    to_utc_ns: int
    ticks: int
    instruments: int
    reason: str


class Lease(msgspec.Struct):
    """The key `lease` of the bucket: it names the bridge that publishes. A map. The bridge renews
    it every second; it is over when it was not renewed for `LEASE_HOLDS_NS`.

    term: rises with each other holder. holder: the daemon's host and directory, empty when it was
    given back. is_fed: whether its daemon's data arrives.
    """

    term: int
    holder: str
    is_fed: bool


LEASE_KEY = "lease"
LEASE_HOLDS_NS = 3 * NS_PER_S

encode = msgspec.msgpack.Encoder().encode
decode_beat = msgspec.msgpack.Decoder(BridgeBeat).decode
decode_gap = msgspec.msgpack.Decoder(BridgeGap).decode
decode_lease = msgspec.msgpack.Decoder(Lease).decode
