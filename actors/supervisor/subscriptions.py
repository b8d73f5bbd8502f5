"""Knows which instruments are wanted, and answers requests for them. Pure.

Wanted = configuration + operator + listeners; an instrument's mode is the highest anybody asked
for. The shell resolves names (the instrument list is a file); its findings come in here.
`confirmations` knows what was asked of Kite, and what Kite has confirmed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from kitefeed.actors.policy.names import did_you_mean, nearest
from kitefeed.actors.supervisor.confirmations import LATE_NS, NAMED_MAX, Confirmations
from kitefeed.actors.supervisor.shards import WHOLE_KEY, Capacity
from kitefeed.protocol.kite.instruments import Listed
from kitefeed.protocol.kite.ticks import is_index
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import Answer
from kitefeed.protocol.messages.instruments import LIST_MAX, Instrument, Mode
from kitefeed.protocol.messages.status import SubscriptionCounts

LISTENER_GRACE_NS = 30 * NS_PER_S  # after the last listener left: it may only be restarting
LISTENED_MAX = 2 * LIST_MAX  # with those in their grace; above it, the grace that ends first is cut
HEAR_NS = 300_000_000  # at most so long after its question a program's subscriptions are told
PENDING_MAX = 256  # requests that wait for a first packet at the same time
WAIT_S_MAX = 30.0
WAITING = "waiting for today's instrument list"
NOT_LISTED = "not in today's instrument list"
_RANK: dict[Mode, int] = {"ltp": 1, "quote": 2, "full": 3}


@dataclass
class Pending:
    """A `subscribe` that waits for first packets. `ticket` is whom to answer, `mode` what was asked
    for. heard_ns: until then a program's own subscriptions may still be on their way; only they
    tell whether there is room."""

    ticket: tuple[bytes, str]
    keys: tuple[str, ...]
    deadline_ns: int
    mode: Mode | None = None
    heard_ns: int = 0


class Subscriptions:
    def __init__(
        self,
        configured: Iterable[str],
        canaries: Iterable[str],
        default_mode: Mode,
        operator: Mapping[str, str | None],
        capacity: Capacity = WHOLE_KEY,
        kept: Mapping[str, tuple[int, str]] | None = None,
    ) -> None:
        """`kept`: instruments that streamed before a restart though the instrument list lacked
        them."""
        self._configured = dict.fromkeys(configured)  # ordered, and quick to ask
        self._canaries = frozenset(canaries)
        self._default_mode: Mode = default_mode
        self.operator: dict[str, str | None] = dict(operator)
        # key -> mode (None: as configured) -> boot time it is dropped, 0 while listened to
        self._listeners: dict[str, dict[Mode | None, int]] = {}
        self._read: frozenset[str] = frozenset()  # what else is listened to, as the sources know
        self._has_stirred = False  # something changed since `expire` last looked
        self._listed = {key: Listed(*listed) for key, listed in (kept or {}).items()}
        self.kept: dict[str, str] = {}  # key -> why it streams though the list lacks it
        self.waiting = WAITING  # what is said of a name that could not be looked up yet
        self.unknown: dict[str, str] = {}  # key -> why it cannot be had
        self.confirmations = Confirmations()
        self._instruments_max = capacity.total
        self._over_limit = _over_limit(capacity)
        self.pending: list[Pending] = []

    # --- wants --------------------------------------------------------------------------------

    @property
    def configured(self) -> frozenset[str]:
        return frozenset(self._configured)

    def wanted(self) -> dict[str, Mode]:
        """Return every wanted key with its mode, the configured ones first."""
        return {
            key: max((mode for mode, _ in self._asks(key)), key=_RANK.__getitem__)
            for key in dict.fromkeys(self._keys())
        }

    def _keys(self) -> Iterator[str]:
        return chain(self._configured, self._canaries, self.operator, self._listeners)

    def _asks(self, key: str) -> list[tuple[Mode, str]]:
        """Return the modes in which `key` is asked for, and by whom."""
        default = self._default_mode
        found: list[tuple[Mode, str]] = []
        if key in self._configured or key in self._canaries:
            found.append((default, "the configuration file asks"))
        if key in self.operator:
            asked = self.operator[key]  # the file may hold a mode that this version does not know
            known = next((mode for mode in _RANK if mode == asked), default)
            found.append((known, "`kitefeed subscribe` asked"))
        for wish in self._listeners.get(key, ()):
            found.append((wish or default, "a program that listens to it asks"))
        return found

    def _is_base(self, key: str) -> bool:
        """Whether it is wanted even without any program."""
        return key in self._configured or key in self._canaries or key in self.operator

    def _why_higher(self, key: str, asked: Mode | None) -> str:
        """Say why `key` streams in a higher mode than was asked for; empty if it does not."""
        asks = self._asks(key)
        if asked is None or not asks:
            return ""
        mode, who = max(asks, key=lambda ask: _RANK[ask[0]])
        if _RANK[mode] <= _RANK[asked]:
            return ""
        return f"it streams in {mode}, not {asked}, because {who} for that"

    def want(self, keys: Iterable[str], mode: Mode | None) -> None:
        """Do the operator's `subscribe`: kept until `drop`."""
        self._has_stirred = True
        for key in keys:
            self.operator[key] = mode

    def drop(self, key: str, *, may_search: bool = True) -> Answer:
        """Do the operator's `unsubscribe`; others may still want it, and then it stays.
        `may_search`: for near names, if it was not subscribed; that takes its time."""
        self._has_stirred = True
        was_wanted = self.operator.pop(key, "no") != "no"
        if key in self._configured and was_wanted:
            return Answer(key, "dropped", "the configuration file wants it, so it streams on")
        if key in self._configured:
            return Answer(key, "refused", "it is in the configuration file: remove it there")
        if key in self._listeners:
            return Answer(key, "dropped", "a program still listens to it, so it streams on")
        if not was_wanted:
            near = did_you_mean(nearest(key, self.operator)) if may_search else ""
            why = f"; {near}" if near else ": `kitefeed tail` shows what streams"
            return Answer(key, "refused", f"it is not subscribed{why}")
        return Answer(key, "dropped")

    def listen(self, told: m.ListenersWant, now_ns: int) -> bool:
        """Take the whole list of what programs subscribe to on the feed. True when this may have
        changed the wants. The wish of a program that leaves is kept for a grace; a name that nobody
        knows is forgotten at once."""
        self._has_stirred = True
        present = _wishes(told)
        before = sum(map(len, self._listeners.values()))
        for key, modes in present.items():
            self._listeners.setdefault(key, {}).update(modes)
        is_new = sum(map(len, self._listeners.values())) > before
        for key, wishes in self._listeners.items():
            for mode, until_ns in wishes.items():
                if not until_ns and mode not in present.get(key, ()):
                    wishes[mode] = now_ns + LISTENER_GRACE_NS
        gone = [k for k in self._listeners if k in self.unknown and k not in present]
        for key in gone:
            del self._listeners[key]
        return self._shorten() or is_new or bool(gone)

    def _shorten(self) -> bool:
        """Bound the keys in their grace: programs may come and go with ever new instruments."""
        extra = len(self._listeners) - LISTENED_MAX
        if extra <= 0:
            return False
        leaving = [(max(w.values()), key) for key, w in self._listeners.items() if all(w.values())]
        for _, key in sorted(leaving)[:extra]:
            del self._listeners[key]
        return True

    def expire(self, now_ns: int) -> bool:
        """Forget listeners whose grace is over. True when the sources are to be told of it, or of
        the listeners of now: once a second is soon enough, and programs may come and go all the
        time."""
        if not self._has_stirred:
            return False
        leaving = [
            (key, mode, until_ns)
            for key, wishes in self._listeners.items()
            for mode, until_ns in wishes.items()
            if until_ns
        ]
        gone = [(key, mode) for key, mode, until_ns in leaving if until_ns <= now_ns]
        self._has_stirred = len(leaving) > len(gone)
        for key, mode in gone:
            del self._listeners[key][mode]
            if not self._listeners[key]:
                del self._listeners[key]
        before, self._read = self._read, frozenset(filter(self._is_base, self._listeners))
        return bool(gone) or self._read != before

    # --- names --------------------------------------------------------------------------------

    def unresolved(self, keys: Iterable[str] | None = None) -> list[str]:
        """Return those of `keys`, by default of all that are wanted, that the shell should look
        up."""
        asked = self._keys() if keys is None else keys
        missing = (k for k in asked if k not in self._listed and k not in self.unknown)
        return list(dict.fromkeys(missing))

    def resolved(self, listed: Mapping[str, Listed], unknown: Mapping[str, str]) -> None:
        """Take the instrument list's answer: a token, or a sentence why there is none."""
        if len(self.unknown) > LIST_MAX:  # programs may ask for anything
            self.unknown.clear()
        self._listed.update(listed)
        self.unknown.update(unknown)

    def in_use(self) -> dict[str, Listed]:
        """Return the wanted keys that were found in the list."""
        return {key: self._listed[key] for key in self.wanted() if key in self._listed}

    def relisted(
        self, found: Mapping[str, Listed], owners: Mapping[int, str], day_ist: str
    ) -> None:
        """Apply a new list: `found` is what it has of `in_use`, `owners` the keys to which it gives
        tokens in use. Tokens are recycled, so an expired instrument is forgotten, and so is one
        whose token is another's now; one that the list merely lacks streams on."""
        before, self._listed = self.in_use(), dict(found)
        self.unknown.clear()
        self.kept.clear()
        for key, listed in before.items():
            if key in found:
                continue
            if listed.is_expired(day_ist):
                self.unknown[key] = f"it expired on {listed.expiry}"
            elif listed.token in owners:
                self.unknown[key] = f"its token is {owners[listed.token]} in today's list: use that"
            else:
                self._listed[key] = listed
                self.kept[key] = f"{NOT_LISTED}; it streams on as it did before"

    def is_known(self, key: str) -> bool:
        return key in self._listed

    def instruments(self) -> tuple[Instrument, ...]:
        """Return the instruments that the sources should deliver. Those beyond the limit of all
        sockets are refused: of listeners first, then of the operator, of the configuration last."""
        found: list[Instrument] = []
        over: dict[str, str] = {}
        for key, mode in self.wanted().items():
            listed = self._listed.get(key)
            if listed is None:
                continue
            token = listed.token
            if len(found) >= self._instruments_max:
                over[key] = self._over_limit
                continue
            is_canary = key in self._canaries if self._canaries else is_index(token)
            is_read = key in self._read or not self._is_base(key)
            found.append(Instrument(token, key, mode, is_canary, has_listeners=is_read))
        # For the others there is room now, or nobody wants them any more.
        self.unknown = {key: why for key, why in self.unknown.items() if why != self._over_limit}
        self.unknown |= over
        return tuple(found)

    def may_be_had(self, key: str) -> bool:
        """Whether it is worth wanting: there may be room once it is wanted, but a missing name
        stays missing."""
        return self.unknown.get(key, self._over_limit) == self._over_limit

    # --- confirmations ------------------------------------------------------------------------

    def is_confirmed(self, key: str) -> bool:
        listed = self._listed.get(key)
        return listed is not None and self.confirmations.is_confirmed(listed.token)

    def counts(self, now_ns: int) -> SubscriptionCounts:
        wanted = self.wanted()
        refused = {key: why for key, why in self.unknown.items() if key in wanted}
        keys = {self._listed[key].token: key for key in wanted if key in self._listed}
        asked = self.confirmations.asked().intersection(keys)
        confirmed = self.confirmations.confirmed().intersection(keys)
        late = [
            lacking.named(keys[lacking.token], now_ns)
            for lacking in self.confirmations.lacking()
            if lacking.token in keys and now_ns - lacking.since_ns >= LATE_NS
        ]
        return SubscriptionCounts(
            len(wanted), len(asked), len(confirmed), refused, late[:NAMED_MAX]
        )

    # --- answers ------------------------------------------------------------------------------

    def answer(self, key: str, waiting_for: str, asked: Mode | None = None) -> Answer:
        """Say what became of `key` so far: `waiting_for` when nothing came yet, and its mode when
        that is not the one `asked` for."""
        if key in self.unknown:
            return Answer(key, "refused", self.unknown[key])
        higher = self._why_higher(key, asked)
        if self.is_confirmed(key):
            return Answer(key, "confirmed", higher)
        if not self.is_known(key):
            waiting_for = self.waiting
        return Answer(key, "accepted", f"{waiting_for}; {higher}" if higher else waiting_for)

    def progress(self, key: str, now_ns: int) -> str:
        """Say what Kite has sent of an instrument that was asked for and is not confirmed; empty
        for any other one."""
        listed = self._listed.get(key)
        lacking = self.confirmations.lacking_of(listed.token) if listed is not None else None
        if lacking is None:
            return ""
        late = lacking.named(key, now_ns)
        asked = f"{late.mode} was asked for {late.since_s:.0f} s ago"
        if late.comes_in is not None:
            return f"it comes in {late.comes_in} only, {asked}, and is asked for again"
        return f"no packet came yet, {asked}, and is asked for again until one does"

    def wait_for(self, why: str) -> None:
        """Set what is said of a name that could not be looked up yet."""
        self.waiting = why

    def hold(self, pending: Pending) -> None:
        self.pending.append(pending)

    def redirect(self, ticket: tuple[bytes, str]) -> None:
        """Answer a waiting request on the new connection that it has come from again."""
        for pending in self.pending:
            if pending.ticket[1] == ticket[1]:
                pending.ticket = ticket

    def due(self, now_ns: int, can_stream: bool) -> list[Pending]:
        """Take pending requests that can be answered now: all is known, time is over, or nothing is
        going to come (`can_stream` False)."""
        ready = [p for p in self.pending if self._is_ready(p, now_ns, can_stream)]
        self.pending = [p for p in self.pending if p not in ready]
        return ready

    def _is_ready(self, pending: Pending, now_ns: int, can_stream: bool) -> bool:
        if now_ns < pending.heard_ns and not all(map(self._is_settled, pending.keys)):
            return False
        if now_ns >= pending.deadline_ns or not can_stream:
            return True
        return all(key in self.unknown or self.is_confirmed(key) for key in pending.keys)

    def _is_settled(self, key: str) -> bool:
        """Whether it is wanted already, or cannot be."""
        return key in self.unknown or bool(self._asks(key))


def _wishes(told: m.ListenersWant) -> dict[str, dict[Mode | None, int]]:
    """Return key -> the modes that its readers want, none of which is leaving; in the order told,
    so that the same events give the same commands."""
    also_plain = frozenset(told.also_plain)
    wishes: dict[str, dict[Mode | None, int]] = {}
    for key in told.keys:
        mode = told.modes.get(key)
        wishes[key] = {mode: 0, None: 0} if key in also_plain else {mode: 0}
    return wishes


def _over_limit(capacity: Capacity) -> str:
    """Say why an instrument cannot be had, and what to do."""
    sockets, per_socket = capacity
    why = f"over the limit of {capacity.total:,} instruments ({sockets} sockets of {per_socket:,})"
    if capacity == WHOLE_KEY:
        return f"{why}: `kitefeed unsubscribe` others"
    return f"{why}: `kitefeed unsubscribe` others, or raise it in [kite] of the configuration"
