"""Topics of the feed. A topic ends with a NUL byte on the wire, so that an exact subscription is
`tick/NSE:INFY` NUL and never matches `tick/NSE:INFYX`; `tick/NSE:` (no NUL) is a whole exchange.
"""

NUL = b"\0"

TICK = b"tick/"
TICKS = b"ticks/"
LAST = b"last/"
STATE = b"state/"
HEARTBEAT = b"hb/"
ORDER = b"order/"
NOTICE = b"notice/"
FAMILIES: tuple[bytes, ...] = (TICK, TICKS, LAST, STATE, HEARTBEAT, ORDER, NOTICE)

# `last/2/NSE:INFY`: the latest tick of an instrument, at most twice a second. A closed list, so
# that readers share what is written for them; the slash keeps `last/1/` from matching `last/10/`.
LAST_RATES = (1, 2, 5, 10)

TICKS_TOPIC = b"ticks/all"
STATE_TOPIC = b"state/feed"
HEARTBEAT_TOPIC = b"hb/feed"

# Private topics of one subscriber. `~` sorts behind every public topic: libzmq sends subscriptions
# in byte order when a socket (re)connects, so live topics are installed before the request is seen.
SNAPSHOT = b"~snap!"
PRESENCE = b"~client!"
MODE = b"~mode!"
WANT = b"~want!"

ORDER_ID_CHARS_MAX = 64
NO_ORDER_ID = b"unknown"  # stands for an id that is none

SUBSCRIPTION_BYTES_MAX = 256  # longest topic or prefix that is looked at; longer ones are ignored


def tick_topic(key: str) -> bytes:
    """Return the topic of an instrument, without its NUL: `tick/NSE:INFY`."""
    return TICK + key.encode()


def order_topic(order_id: object) -> bytes:
    """Return the topic of an order, without its NUL: `order/261130000000001`. An id that is no
    plain word would tear the frame apart."""
    if isinstance(order_id, str) and order_id.isalnum() and order_id.isascii():
        return ORDER + order_id[:ORDER_ID_CHARS_MAX].encode()
    return ORDER + NO_ORDER_ID


def last_topic(per_second: int, key: str) -> bytes:
    """Return the topic of an instrument's latest ticks, without its NUL: `last/2/NSE:INFY`."""
    return last_head(per_second) + key.encode()


def last_head(per_second: int) -> bytes:
    """Return the beginning of those topics: `last/2/`."""
    return b"%s%d/" % (LAST, per_second)


_LAST_HEADS = {last_head(rate): rate for rate in LAST_RATES}


def parse_last(topic: bytes) -> tuple[int, bytes] | None:
    """Return rate and topic (or prefix) of the ticks that `last/2/NSE:INFY` is about; None for
    another topic."""
    if not topic.startswith(LAST):
        return None
    end = topic.find(b"/", len(LAST)) + 1
    rate = _LAST_HEADS.get(topic[:end])
    return None if rate is None else (rate, TICK + topic[end:])


def tick_of(topic: bytes) -> bytes | None:
    """Return the topic of the ticks that `topic` brings, all or the latest; None if it brings
    none."""
    if topic.startswith(TICK):
        return topic
    found = parse_last(topic)
    return found[1] if found else None


def key_of(topic: bytes) -> str:
    """Return the instrument key of a topic of ticks, all or the latest."""
    return (tick_of(topic) or topic)[len(TICK) :].decode()


def snapshot_request(nonce: str, prefix: bytes) -> bytes:
    """Return the subscription that asks for the last value of everything that starts with `prefix`.

    The answers come on the same bytes as topic, and to nobody else. `nonce`: 1-32 of [0-9a-f].
    """
    return SNAPSHOT + nonce.encode() + b"!" + prefix


def parse_snapshot_request(subscription: bytes) -> bytes | None:
    """Return the prefix a snapshot request asks for, or None if `subscription` is not one."""
    if not subscription.startswith(SNAPSHOT):
        return None
    nonce, mark, prefix = subscription[len(SNAPSHOT) :].partition(b"!")
    return prefix if mark and nonce else None


def mode_request(mode: str, topic: bytes) -> bytes:
    """Return the second subscription of a reader of `topic` (no NUL) that wants its instrument
    streamed at least in this mode; nothing is ever published there."""
    return MODE + mode.encode() + b"!" + topic + NUL


def parse_mode_request(subscription: bytes) -> tuple[str, bytes] | None:
    """Return mode and topic (no NUL) of a mode request, or None if `subscription` is not one."""
    return _mode_and_topic(MODE, subscription)


def _mode_and_topic(family: bytes, subscription: bytes) -> tuple[str, bytes] | None:
    if not subscription.startswith(family):
        return None
    mode, _, topic = subscription[len(family) :].partition(b"!")
    is_exact = topic.startswith(TICK) and topic.endswith(NUL)
    return (mode.decode(errors="replace"), topic[:-1]) if is_exact else None


def want_request(mode: str, topic: bytes) -> bytes:
    """Return the subscription of a reader of `ticks/all` that wants the instrument of `topic` (no
    NUL) streamed at least in this mode, "" for the configured one; nothing is ever published
    there."""
    return WANT + mode.encode() + b"!" + topic + NUL


def parse_want_request(subscription: bytes) -> tuple[str, bytes] | None:
    """Return mode and topic (no NUL) of a `want_request`, or None if `subscription` is not one."""
    return _mode_and_topic(WANT, subscription)


def presence(nonce: str) -> bytes:
    """Return the subscription by which a client is counted; nothing is ever published there."""
    return PRESENCE + nonce.encode()
