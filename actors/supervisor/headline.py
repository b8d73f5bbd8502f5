"""The supervisor's words: the headline with its reason, and the log lines of conditions.

A condition begins with one error line and ends with one info line that tells how long it took. Both
are derived from the facts after every step, so nothing can be said twice.
"""

from kitefeed.actors.policy import market
from kitefeed.actors.supervisor import held, order_book, rest, session
from kitefeed.actors.supervisor.facts import (
    LOSSES_TOLERATED,
    POLL_PERIOD_NS,
    QUIET_SAID_NS,
    REFUSALS_BEFORE_REST,
    DialState,
    Say,
    Shard,
)
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.feed import FeedState
from kitefeed.protocol.kite.ticks import segment_of
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.status import Outage
from kitefeed.protocol.topology import Role

LOGIN = "`kitefeed login`, or `kitefeed session set`"
CROWDED = "Kite refuses a further socket (429): another program holds sockets of this key"
UNPROVEN = (
    "connected, but nothing ticks that always does while the market is open, so nothing proves "
    "that the values are the latest: they read stale until something ticks"
)
GOOD = ("live", "rest", "closed", "paused")


def announce(s: State) -> None:
    """Derive the picture of this step; send it when it differs from the last one."""
    state = derive(s)
    _say_conditions(s)
    if not s.is_settled:
        return
    is_other = s.last_announced is None or _facts_of(state) != _facts_of(s.last_announced)
    if is_other or s.dial.until_ns != s.announced_until_ns:
        s.announced_until_ns = s.dial.until_ns
        if s.last_announced is None or state.feed != s.last_announced.feed:
            _feed_changed(s, state)
        state.since_utc_ns = s.to_utc_ns(s.feed_since_ns)
        s.last_announced = state
        if Role.BROADCASTER in s.actors_up:
            s.send(Role.BROADCASTER, m.Announce(state))


def broadcaster_up(s: State) -> None:
    """Announce anew to a broadcaster that says hello, and knows no picture yet."""
    s.last_announced = None


def derive(s: State) -> FeedState:
    """Derive the headline and everything beside it, from the facts alone."""
    feed, reason = _feed(s)
    return FeedState(
        feed=feed,
        source=_source(s),
        session=s.session.word,
        override=s.override,
        reason=reason,
        since_utc_ns=s.to_utc_ns(s.feed_since_ns),
        at_utc_ns=s.utc_ns,
        epoch=_worst(s).grant.epoch,
        consecutive_403=s.consecutive_403,
        retry_in_s=retry_in_s(s),
        user_id=s.session.user_id,
        user_name=s.session.user_name,
        closed_segments=closed_segments(s),
        fresh_shards=[shard.number for shard in s.shards if _is_fresh(s, shard)],
    )


def closed_segments(s: State) -> list[int]:
    """Return the closed segments; [] while ticks say that the calendar is wrong."""
    return [] if s.is_overruled else list(s.market.closed_segments(s.utc_ns))


def retry_in_s(s: State) -> float | None:
    """Return the seconds to the next attempt, None when none is due."""
    if s.dial.state is not DialState.WAITING or not s.dial.until_ns:
        return None
    return round(max(0, s.dial.until_ns - s.now_ns) / 1e9, 1)


def _is_fresh(s: State, shard: Shard) -> bool:
    return shard.is_streaming or (shard.rest.epoch > 0 and rest.is_fresh(s, shard))


def _worst(s: State) -> Shard:
    """Return the shard whose state is the headline: one without fresh data, else a polled one, else
    the first."""

    def rank(shard: Shard) -> int:
        return shard.is_streaming + _is_fresh(s, shard)

    return min(s.judged, key=rank)


def _facts_of(state: FeedState) -> tuple[object, ...]:
    """Return everything in which two pictures can differ, but the running clocks."""
    return (
        state.feed, state.source, state.session, state.override, state.reason, state.epoch,
        state.consecutive_403, state.user_id, state.user_name, state.closed_segments,
        state.fresh_shards,
    )  # fmt: skip


def _feed(s: State) -> tuple[str, str]:
    """Return headline and reason, in the order of precedence."""
    if s.misconfigured:
        return "misconfigured", s.misconfigured
    if s.override == "paused":
        return "paused", "paused by the operator: `kitefeed source auto` resumes"
    if not s.is_market_open:
        return "closed", _closed_reason(s)
    if s.session.word in ("absent", "refused") and not s.is_streaming:
        return "login_required", _login_reason(s)
    if s.has_no_entitlement and not any(_is_fresh(s, shard) for shard in s.judged):
        return "no_entitlement", "the Kite plan of this app has no market data"
    if s.is_streaming and not _unproven(s):
        return "live", _live_reason(s)
    if all(_is_fresh(s, shard) for shard in s.judged) and not _unproven(s):
        return "rest", _rest_reason(s)
    return "stale", f"{_part(s)}{_stale_reason(s)}"


def _unproven(s: State) -> bool:
    return any(shard.is_unproven(s.now_ns) for shard in s.judged)


def _part(s: State) -> str:
    """Say how much of the feed is well, when it is a part."""
    streaming = sum(shard.is_streaming and not shard.is_unproven(s.now_ns) for shard in s.judged)
    all_of_them = len(s.judged)
    return f"{streaming} of {all_of_them} sockets stream; " if streaming else ""


def _source(s: State) -> str:
    """Return the worst source of those that give fresh values."""
    fresh = [shard for shard in s.shards if _is_fresh(s, shard)]
    if fresh:
        return "websocket" if all(shard.is_streaming for shard in fresh) else "rest"
    return "cache" if s.values_held or s.fresh_ns else "none"


def _live_reason(s: State) -> str:
    if s.session.word != "refused":
        return held.sentence(s) or _quiet(s) or "streaming"
    if s.session.fingerprint not in _logins(s):
        return "streaming with the session before; the new login is refused: log in again"
    why = session.elsewhere(s.session) or "Kite refuses the session"
    return f"streaming, but {why}: log in before the next reconnect"


def _quiet(s: State) -> str:
    """Say that nothing ticks where something always should, once it has lasted. Quotes say the same
    as the values, so these are not in doubt, but nothing proves a live stream."""
    due = [i for i in s.instruments if i.is_canary and s.is_trading(segment_of(i.token))]
    since_ns = [s.trading_since_ns, s.fresh_ns, *(sh.link.live_since_ns for sh in s.judged)]
    if not due or not s.is_streaming or s.now_ns - max(since_ns) < QUIET_SAID_NS:
        return ""
    last = f"since {market.to_ist(s.to_utc_ns(s.fresh_ns)):%H:%M}" if s.fresh_ns else "yet"
    return (
        f"connected, but nothing has ticked {last} although the calendar has the market open, not "
        f"even {due[0].key}: a holiday that it does not know, or a halt; values read fresh as long "
        "as quotes say the same"
    )


def _logins(s: State) -> set[str]:
    """Return the sessions that the open sockets use."""
    return {shard.link.fingerprint for shard in s.shards if shard.is_open}


def _closed_reason(s: State) -> str:
    moment = s.market.next_open(s.segments, s.utc_ns)
    opens = f" and opens on {moment:%d %b at %H:%M} IST" if moment else ""
    return f"the market is closed{opens}; values keep their age"


def _login_reason(s: State) -> str:
    if s.session.problem and s.session.word == "absent":
        return s.session.problem
    if s.session.word == "absent":
        return f"there is no session: {LOGIN}"
    why = session.elsewhere(s.session) or (
        "Kite refuses the session (expired, or another login replaced it)"
    )
    return f"{_part(s)}{why}: {_what_now(s)}"


def _what_now(s: State) -> str:
    """Say what happens now that a session has ended, as `session.elsewhere` has it."""
    if s.session.elsewhere_utc_ns and s.elsewhere == "wait":
        return f"waiting for a new session; else {LOGIN}"
    if s.session.elsewhere_utc_ns and s.elsewhere == "command":
        return f"login.command is asked for a new one; else {LOGIN}"
    return LOGIN


def _rest_reason(s: State) -> str:
    polled = [shard for shard in s.judged if not shard.is_streaming]
    how = f"polled every {POLL_PERIOD_NS / 1e9:g} s"
    sweep_ns = max(shard.rest.sweep_ns for shard in polled)
    if sweep_ns > POLL_PERIOD_NS:
        count = sum(len(s.polled(shard)) for shard in polled)
        how = f"polling {count:,} instruments takes {sweep_ns / 1e9:.3g} s"
    why = f"the WebSocket is refused ({s.consecutive_403} times in a row)"
    if s.override == "rest":
        why = "the operator chose REST"
    elif s.consecutive_403 < REFUSALS_BEFORE_REST:
        why = s.dial.closed_reason or "the WebSocket is down"
        if any(shard.limited_until_ns for shard in polled):
            why = CROWDED
    return f"{_part(s)}{how}: {why}"


def _stale_reason(s: State) -> str:
    if s.is_streaming:
        return held.sentence(s) or UNPROVEN
    if s.unresolved and not s.instruments:
        why = f" ({s.list.detail})" if s.list.outcome == "failed" else ""
        waits = f"in which to find {s.unresolved} by name"
        return f"waiting for the day's instrument list{why}, {waits}"
    if not s.instruments and s.is_any_open:
        return "connected, but no instrument is wanted: `kitefeed subscribe NSE:INFY`"
    if s.dial.state is DialState.WAITING:
        return {
            "socket": "the WebSocket is refused although the session is good; trying again",
            "limit": f"{CROWDED}; close it",
            "network": f"no connection to Kite: {s.dial.closed_reason}",
            "entitlement": "the plan of this app has no market data",
        }.get(s.dial.cause, "waiting")
    if s.session.word == "unknown" and not s.session.fingerprint:
        return "starting"
    if Role.TICKER not in s.actors_up:
        return "the ticker process is starting"
    attempt = {
        DialState.PREFLIGHT: "checking the session",
        DialState.CLASSIFYING: "the WebSocket was refused; asking why",
        DialState.CONNECTING: "connecting",
    }.get(s.dial.state)
    if attempt:
        return attempt
    worst = _worst(s)
    if worst.is_open:
        return "connected; waiting for the first fresh tick"
    return worst.rest.detail or "waiting"


# --- conditions ---------------------------------------------------------------------------------


def _conditions(s: State) -> dict[str, str]:
    """List what is wrong now: key -> the sentence of its error line."""
    found: dict[str, str] = {}
    if s.misconfigured:
        found["misconfigured"] = s.misconfigured
    elif warning := s.market.warning(s.utc_ns):
        found["calendar"] = warning
    if s.list_doubt:
        found["instruments"] = (
            f"the new instrument list is not believed, that of {s.list.day_ist} stays in use: "
            f"{s.list_doubt}; it is fetched again by itself, and `kitefeed instruments fetch "
            "--believe` takes it"
        )
    if s.override == "paused" or s.misconfigured:
        return found
    found.update(_session_conditions(s))
    if s.has_no_entitlement:
        found["no_entitlement"] = (
            "the plan of this Kite app has no market data: subscribe to Kite Connect at "
            "developers.kite.trade, then `kitefeed retry`"
        )
    if sentence := held.lasting(s):
        found["held"] = sentence
    if sentence := _quiet(s):
        found["quiet"] = sentence
    if sentence := order_book.condition(s):
        found["orders"] = sentence
    if s.dial.state is DialState.WAITING and s.closed:
        found.update(_dial_conditions(s))
    elif not s.is_streaming:  # an attempt under way ends nothing yet
        found.update({k: "" for k in ("socket", "limit", "network") if k in s.conditions})
    if "login_required" in found:
        found.pop("network", None)  # one cause, one line: the session is why there is no socket
    return found


def _session_conditions(s: State) -> dict[str, str]:
    """List the session's conditions. A login not yet judged ends none; a refused one is a condition
    of its own."""
    found: dict[str, str] = {}
    word, fingerprint = s.session.word, s.session.fingerprint
    if s.session.problem and fingerprint:
        found["session_file"] = s.session.problem
    if word == "absent" or (word == "refused" and s.closed):
        found["login_required"] = f"login required: {_login_reason(s)}"
        if "login_required" not in s.conditions:
            s.login_fingerprint = fingerprint
    elif word in ("unknown", "unverified"):
        found.update({k: "" for k in ("login_required", "new_login_refused") if k in s.conditions})
    elif word == "refused" and fingerprint in _logins(s):
        why = session.elsewhere(s.session)
        found["session_refused"] = (
            f"Kite refuses the session while its socket still streams{f' ({why})' if why else ''}: "
            f"log in before the next reconnect: {_what_now(s)}"
        )
    is_other = fingerprint not in {s.login_fingerprint, *_logins(s)}
    if word == "refused" and is_other:
        found["new_login_refused"] = (
            f"the new login is refused by Kite ({s.session.detail}): {LOGIN}"
        )
    return found


def _dial_conditions(s: State) -> dict[str, str]:
    if any(shard.limited_until_ns for shard in s.closed):
        return {"limit": f"{CROWDED}; close it, or let kitefeed use fewer: kite.sockets_max"}
    if s.dial.cause == "socket":
        return {"socket": (
            "the WebSocket is refused (403) although the session is good; after "
            f"{REFUSALS_BEFORE_REST} refusals quotes are polled instead: nothing to do"
        )}  # fmt: skip
    is_failing = s.dial.connect_failures or s.ladders.network.taken > LOSSES_TOLERATED
    if s.dial.cause == "network" and is_failing:
        return {"network": f"no connection to Kite: {s.dial.closed_reason}"}
    return {}


def _say_conditions(s: State) -> None:
    """Say one error line when a condition begins, one info line when it ends."""
    found = _conditions(s)
    for key, text in found.items():
        if key not in s.conditions:
            s.conditions[key] = s.now_ns
            is_mild = key in ("session_refused", "calendar", "instruments", "held", "quiet")
            is_mild |= s.is_waiting_elsewhere and key == "login_required"
            s.order(Say("warning" if is_mild else "error", f"{text} condition={key}"))
    for key in [key for key in s.conditions if key not in found]:
        since_ns = s.conditions.pop(key)
        took_s = (s.now_ns - since_ns) / 1e9
        attempts = s.attempts - s.attempts_when_live
        s.say(f"over after {took_s:.1f} s and {attempts} attempts condition={key}")


def _feed_changed(s: State, state: FeedState) -> None:
    before = s.last_announced.feed if s.last_announced else ""
    if before:
        s.feed_since_ns = s.now_ns
    if state.feed in GOOD:
        _outage_over(s, state)
    elif before in GOOD:
        s.outage = Outage(state.feed, s.utc_ns / 1e9)
    if state.feed == "live":
        s.attempts_when_live = s.attempts
    s.say(f"feed={state.feed} source={state.source} session={state.session}: {state.reason}")


def _outage_over(s: State, state: FeedState) -> None:
    if s.outage and s.outage.restored_utc_s is None and state.feed in ("live", "rest"):
        s.outage.restored_utc_s = s.utc_ns / 1e9


def login_seen(s: State) -> None:
    """Note that a new session came while the feed was out."""
    if s.outage and s.outage.restored_utc_s is None:
        s.outage.login_utc_s = s.utc_ns / 1e9


def ready_check(s: State, before_utc_ns: int) -> None:
    """At 08:45 IST of a session day, say whether everything is there for the open, or what is
    missing."""
    ready_utc_ns = market.last_utc_ns(s.utc_ns, market.READY_AT)
    is_due = before_utc_ns < ready_utc_ns and s.utc_ns - before_utc_ns < market.MINUTE_NS
    opens = s.market.opens_today(s.segments, s.utc_ns)
    if not is_due or opens is None:
        return
    missing = []
    if s.session.word != "valid":
        missing.append(f"no valid session ({LOGIN})")
    if s.closed:
        missing.append("no socket" if not s.is_any_open else "not all sockets")
    if not s.instruments:
        missing.append("no instruments")
    if missing:
        s.order(Say("warning", f"not ready for the open at {opens:%H:%M}: {', '.join(missing)}"))
    else:
        s.say(f"ready for the open at {opens:%H:%M}")
