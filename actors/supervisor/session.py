"""The session region: what is known of the two sessions, and when they are validated."""

from kitefeed.actors.policy import market
from kitefeed.actors.supervisor.facts import (
    CLOSED_RETRY_NS,
    LIVE_CHECK_NS,
    UNVERIFIED_CHECK_NS,
    VALIDATION_LIMIT_NS,
    SessionFacts,
)
from kitefeed.actors.supervisor.news import SessionJudged
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topology import Role


def slot(s: State, name: m.Slot) -> SessionFacts:
    return s.session if name == "primary" else s.standby


def seen(s: State, event: m.SessionSeen) -> bool:
    """Take note of a session file. True when its slot has another session than before."""
    facts = slot(s, event.slot)
    facts.problem = event.problem
    if event.problem:  # unreadable or torn: what we had stays in force until a good one is there
        if facts.fingerprint is None:
            facts.word = "absent"
        return False
    found = (event.fingerprint, *event.others) if event.fingerprint else ()
    facts.candidates = tuple(dict.fromkeys(found))
    facts.refused = {each: why for each, why in facts.refused.items() if each in found}
    fingerprint = _untried(facts) or event.fingerprint
    if fingerprint == facts.fingerprint:
        if facts.fingerprint is None:
            facts.word = "absent"
        return False
    _replace(s, facts, fingerprint)
    if event.slot == "primary":
        s.session_since_ns = s.now_ns
    return True


def _untried(facts: SessionFacts) -> str | None:
    """Return the newest session that Kite has not refused."""
    return next((each for each in facts.candidates if each not in facts.refused), None)


def fall_back(s: State) -> bool:
    """Put another file's session in force if Kite has just refused the primary one. When all are
    refused they take turns, as the ladder asks. True when it may be good."""
    facts = s.session
    if s.heard_of(SessionJudged) != SessionJudged("refused") or len(facts.candidates) < 2:
        return False
    refused, other = facts.fingerprint, _untried(facts)
    if other is None:
        place = facts.candidates.index(refused) if refused in facts.candidates else -1
        facts.fingerprint = facts.candidates[(place + 1) % len(facts.candidates)]
        return False
    s.say(
        f"Kite refuses the session {refused} of one file, and that of another is used ({other}): "
        "`kitefeed session show` names them"
    )
    _replace(s, facts, other)
    s.take(SessionJudged)
    s.session_since_ns = s.now_ns
    return True


def _replace(s: State, facts: SessionFacts, fingerprint: str | None) -> None:
    facts.fingerprint = fingerprint
    facts.word = "unknown" if fingerprint else "absent"
    facts.request_id = facts.request_until_ns = facts.next_check_ns = 0
    facts.detail = ""
    facts.user_id = facts.user_name = None
    facts.elsewhere_utc_ns = facts.good_until_utc_ns = 0
    if fingerprint:
        facts.next_check_ns = s.now_ns


def request(s: State, facts: SessionFacts) -> None:
    """Ask the validator, unless an answer is under way."""
    if facts.request_id or facts.fingerprint is None:
        return
    facts.request_id = s.next_request_id()
    facts.request_until_ns = s.now_ns + VALIDATION_LIMIT_NS
    facts.next_check_ns = 0
    _send(s, facts)


def _send(s: State, facts: SessionFacts) -> None:
    if facts.fingerprint:
        s.send(Role.TOKEN_VALIDATOR, m.Validate(facts.request_id, facts.fingerprint, facts.slot))


def validated(s: State, event: m.Validated) -> None:
    """Take an answer of the validator; one for another request or session is too late and
    ignored."""
    facts = slot(s, event.slot)
    if event.request_id != facts.request_id or event.fingerprint != facts.fingerprint:
        return
    facts.user_id = event.user_id or facts.user_id
    facts.user_name = event.user_name or facts.user_name
    if event.verdict != "unverified" and s.unresolved:
        s.send(Role.REST_POLLER, m.FetchInstruments())  # Kite answers: the list can be had, too
    _conclude(s, facts, event.verdict, event.detail)


def _conclude(s: State, facts: SessionFacts, verdict: m.Verdict, detail: str) -> None:
    facts.request_id = facts.request_until_ns = 0
    facts.detail = detail
    # Trouble on the way to Kite says nothing about a session that was seen to be good or bad.
    if verdict != "unverified" or facts.word == "unknown":
        facts.word = verdict
    is_open_question = facts.word == "unverified"
    facts.next_check_ns = s.now_ns + (UNVERIFIED_CHECK_NS if is_open_question else LIVE_CHECK_NS)
    if verdict == "valid" and facts.fingerprint:
        facts.valid_fingerprint, facts.valid_utc_ns = facts.fingerprint, s.utc_ns
        facts.refused.pop(facts.fingerprint, None)
        facts.elsewhere_utc_ns = facts.good_until_utc_ns = 0
    elif verdict == "refused":
        was_good = facts.valid_utc_ns and facts.valid_fingerprint == facts.fingerprint
        if was_good and not s.market.is_flush_between(facts.valid_utc_ns, s.utc_ns):
            # Not at Kite's daily flush: somebody else ended it.
            facts.elsewhere_utc_ns, facts.good_until_utc_ns = s.utc_ns, facts.valid_utc_ns
        facts.refused[facts.fingerprint or ""] = detail
        if facts.valid_fingerprint == facts.fingerprint:
            facts.valid_utc_ns = 0
    if facts.slot == "primary":
        if verdict == "valid":
            _remember_valid(s, facts)
        elif verdict == "refused":
            _forget_valid(s, facts)
        s.tell(SessionJudged(verdict))


def elsewhere(facts: SessionFacts) -> str:
    """Say that somebody else ended the session, and when; "" when nobody did."""
    if not facts.elsewhere_utc_ns:
        return ""
    good, ended = map(market.to_ist, (facts.good_until_utc_ns, facts.elsewhere_utc_ns))
    return (
        "somebody else logged in with this app, or logged out at Kite: the session was good at "
        f"{good:%H:%M:%S} and refused at {ended:%H:%M:%S} IST, which is no time of Kite's flush"
    )


def _remember_valid(s: State, facts: SessionFacts) -> None:
    is_news = (
        s.persisted.valid_fingerprint != facts.valid_fingerprint
        or s.persisted.valid_utc_ns < market.last_flush_utc_ns(s.utc_ns)
    )
    s.persisted.valid_fingerprint = facts.valid_fingerprint
    s.persisted.valid_utc_ns = facts.valid_utc_ns
    if is_news:
        s.persist()


def _forget_valid(s: State, facts: SessionFacts) -> None:
    """Forget a session that was refused, so that a restarted supervisor does not trust it."""
    if s.persisted.valid_fingerprint == facts.fingerprint and s.persisted.valid_utc_ns:
        s.persisted.valid_utc_ns = 0
        s.persist()


def refused_elsewhere(s: State, fingerprint: str | None, detail: str) -> None:
    """Note that a poll or probe met a dead token: as good as the validator's own refusal of that
    session. By fingerprint, because the slot may hold another session by now."""
    for facts in (s.session, s.standby):
        if facts.fingerprint and facts.fingerprint == fingerprint and facts.word != "refused":
            _conclude(s, facts, "refused", detail)


def is_refused(s: State, fingerprint: str) -> bool:
    """Whether Kite is known to refuse this session."""
    for facts in (s.session, s.standby):
        is_now = facts.fingerprint == fingerprint and facts.word == "refused"
        if is_now or fingerprint in facts.refused:
            return True
    return False


def was_valid_today(s: State) -> bool:
    """Whether this very session was seen valid since the last daily token flush."""
    is_same = s.session.valid_fingerprint == s.session.fingerprint
    return is_same and s.session.valid_utc_ns >= market.last_flush_utc_ns(s.utc_ns)


def is_good(s: State) -> bool:
    """Whether a socket may be opened with the primary session."""
    word = s.session.word
    return word == "valid" or (word == "unverified" and was_valid_today(s))


def advance(s: State) -> None:
    """End unanswered validations as unverified; ask for the checks that are due."""
    for facts in (s.session, s.standby):
        if facts.request_id and s.now_ns >= facts.request_until_ns:
            _conclude(s, facts, "unverified", "no answer within 3 s")
        if 0 < facts.next_check_ns <= s.now_ns:
            facts.next_check_ns = 0
            if facts.slot == "standby" or _may_check_now(s):
                request(s, facts)


def _may_check_now(s: State) -> bool:
    """Whether to check the primary session: the dial validates it before each attempt, so only a
    quiet one is checked besides."""
    return s.is_any_open or s.session.word == "unknown" or s.override in ("rest", "paused")


def check_now(s: State) -> None:
    for facts in (s.session, s.standby):
        if facts.fingerprint:
            facts.next_check_ns = s.now_ns


def check_soon(s: State, *, at_once: bool = False) -> None:
    """Validate the primary session now; without `at_once` only if no check is due anyway."""
    s.session.next_check_ns = (not at_once and s.session.next_check_ns) or s.now_ns


def scheduled_checks(s: State, before_utc_ns: int) -> None:
    """Validate at fixed times of the day: around the token flush, and before the open. A
    simulator's market has neither."""
    if s.market.hours != "calendar":
        return
    is_due = any(market.last_utc_ns(s.utc_ns, at) > before_utc_ns for at in market.CHECKS)
    if is_due and 0 < s.utc_ns - before_utc_ns < CLOSED_RETRY_NS:
        check_now(s)


def validator_lost(s: State) -> None:
    """Ask again: a new validator knows nothing of a request under way."""
    for facts in (s.session, s.standby):
        if facts.request_id:
            _send(s, facts)
