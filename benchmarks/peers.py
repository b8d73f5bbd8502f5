"""The programs that are measured: kitefeed's ways to read, the official clients, the floor, any
other.

A peer is a program that reads ticks, in a process of its own, and talks in lines of JSON:

1. it is told one `benchmarks.reading.Spec`; it connects to
   `<scheme>://<address>/?api_key=<key>&...` as to Kite (`$SSL_CERT_FILE` is wss's authority),
   subscribes to `tokens`, and says {"ready": true} once each of them has sent a packet;
2. it keeps every tick whose last price, times its divisor, is at least `first_price` (the ones
   before are its greeting), and when it had it, by CLOCK_MONOTONIC; after `ticks` of them, or
   when nothing has come for 2 s, it says {"end": true};
3. it is told {"ticks": PATH, ...}, writes there one line for each callback,
   {"at_ns": N, "ticks": [...]}, the ticks as the dicts of pykiteconnect with times in ISO 8601 or
   seconds, says {"written": true} and ends.

They are compared here. `kiteconnectjs.cjs` is such a program in 60 lines. One that is in no list is
added by `--peer NAME=COMMAND`.
"""

import shlex
import sys
from typing import NamedTuple

from benchmarks import kiteconnectjs, subject


class Peer(NamedTuple):
    """`key`: its name in options, and the api_key by which the server knows it. `hands_over`: it
    writes down its ticks (above); the others compare them in their own process. `is_pure`: ours,
    and its daemon, with the loops in Python though there are compiled ones."""

    key: str
    title: str
    command: tuple[str, ...]
    is_ours: bool = False
    hands_over: bool = False
    is_pure: bool = False


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"benchmarks.{module}")


def _ours(key: str, title: str) -> Peer:
    return Peer(key, f"kitefeed, {title}", _python("read_feed"), is_ours=True)


EACH = _ours("each", "a message for each tick")
ALL = _ours("all", "everything")
NAMED = _ours("named", "Feed with instruments")
EAGER = _ours("eager", "everything, every field read")
EACH_EAGER = _ours("each-eager", "a message for each tick, every field read")
KITE_TICKER = Peer(
    "kiteticker",
    "kitefeed, KiteTicker, every field read",
    _python("read_kite_ticker"),
    is_ours=True,
)
PURE = {
    peer: peer._replace(key=f"{peer.key}-pure", title=f"{peer.title}, pure Python", is_pure=True)
    for peer in (EACH, ALL, EAGER)
}
OFFICIAL = Peer("pykiteconnect", "pykiteconnect", _python("read_official"))
ON_ENDPOINT = Peer(
    "endpoint", "kitefeed, pykiteconnect on kite_endpoint", _python("read_endpoint"), is_ours=True
)
JS = Peer(
    "kiteconnectjs",
    f"kiteconnectjs {kiteconnectjs.VERSION}",
    tuple(kiteconnectjs.command("read")),
    hands_over=True,
)

NATS = _ours("nats", "everything over NATS")
TCP = _ours("tcp", "everything over tcp")
JSON = Peer("json", "JSON over NATS, by a program of ten lines", _python("read_json"))

BARE = Peer("bare", "bare chain", _python("bare_chain"))

# Where nothing is compiled, ours are pure Python as they are.
_OURS = (EACH, ALL, EAGER, *(PURE.values() if subject.IS_COMPILED else ()))
KNOWN = {peer.key: peer for peer in (OFFICIAL, *_OURS, EACH_EAGER, KITE_TICKER, BARE, JS)}
DEFAULT = tuple(key for key in KNOWN if key != EACH_EAGER.key)


def other(text: str) -> Peer:
    """NAME=COMMAND. Raises ValueError."""
    name, _, command = text.partition("=")
    if not name.replace("-", "").isalnum() or not command or name in KNOWN:
        raise ValueError(f"not NAME=COMMAND with a new name of letters and digits: {text!r}")
    return Peer(name, name, tuple(shlex.split(command)), hands_over=True)
