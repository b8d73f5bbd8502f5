"""Questions to the poller: one quote of one instrument, and what it tells about the stream.

There is one at a time. A newer question replaces an older one, whose answer then comes too late.
The older doubt stays, and is asked about again (`doubt.py`).
"""

from kitefeed.actors.supervisor.facts import (
    ENTITLEMENT_CHECK_NS,
    MOVED_GRACE_NS,
    PROBE_LIMIT_NS,
    ProbeFacts,
    ProbeKind,
    Shard,
)
from kitefeed.actors.supervisor.news import QuoteAnswered
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topology import Role

# Asked for when nothing is subscribed yet; any instrument tells whether quotes are allowed at all.
NIFTY_50 = 256265


def ask(s: State, kind: ProbeKind, doubt: m.LinkDoubt | None = None) -> int:
    """Ask for a quote; return the boot time at which waiting for it ends."""
    token = doubt.token if doubt else next((i.token for i in s.instruments), NIFTY_50)
    request = m.Probe(
        s.next_request_id(),
        s.session.fingerprint or "",
        token,
        doubt.last_price if doubt else None,
        doubt.volume_traded if doubt else None,
    )
    until_ns = s.now_ns + PROBE_LIMIT_NS
    epoch = doubt.epoch if doubt else s.dial.epoch
    s.probe = ProbeFacts(kind, epoch, request, until_ns, s.now_ns, token=token)
    s.send(Role.REST_POLLER, request)
    return until_ns


def answered(s: State, event: m.Probed) -> None:
    """Pass the outcome on. "moved" waits for the ticker's next beat: the market may have moved on
    the stream as well, between the doubt and the quote."""
    probe = s.probe
    if probe.request is None or event.request_id != probe.request.request_id:
        return
    probe.last_price = event.last_price
    if event.outcome == "moved":
        probe.request = None
        probe.until_ns = 0
        probe.moved_due_ns = s.now_ns + MOVED_GRACE_NS
    else:
        _conclude(s, event.outcome)


def _has_ticked(shard: Shard) -> bool:
    """Whether the stream ticks by now. When one instrument alone is silent, ticks of others are no
    news."""
    link = shard.link
    is_alone = link.doubt is not None and link.doubt.is_alone
    return shard.fresh_ns >= link.doubted_ns and not is_alone


def advance(s: State) -> None:
    probe = s.probe
    if probe.request is not None and s.now_ns >= probe.until_ns:
        _conclude(s, "network")
    elif 0 < probe.moved_due_ns <= s.now_ns:
        shard = s.shard_of(probe.epoch)
        _conclude(s, "same" if shard is not None and _has_ticked(shard) else "moved")
    elif 0 < recheck_ns(s) <= s.now_ns:
        ask(s, "entitlement")


def recheck_ns(s: State) -> int:
    """Return the boot time at which a plan without data is asked for again, 0 for never."""
    is_due = s.has_no_entitlement and s.probe.request is None and not s.probe.moved_due_ns
    return s.probe.asked_ns + ENTITLEMENT_CHECK_NS if is_due else 0


def poller_lost(s: State) -> None:
    """Ask again: a new poller knows nothing of a question under way."""
    if s.probe.request is not None:
        s.send(Role.REST_POLLER, s.probe.request)


def forget(s: State) -> None:
    """Drop the question under way."""
    s.probe = ProbeFacts()


def _conclude(s: State, outcome: m.ProbeOutcome) -> None:
    probe = s.probe
    s.probe = ProbeFacts(
        probe.kind, probe.epoch, asked_ns=probe.asked_ns, token=probe.token,
        last_price=probe.last_price,
    )  # fmt: skip
    s.tell(QuoteAnswered(probe.kind, outcome))
