"""Which instruments are wanted, and what becomes of a request for them. Pure.

Wanted = configuration + operator + listeners; an instrument's mode is the highest anybody asked
for. Names are resolved by the shell (the instrument list is a file); what it found comes in here.
What was asked of Kite, and what Kite has confirmed, stands in `confirmations`.
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
LISTENED_MAX = 2 * LIST_MAX  # with those in their grace; above it the grace that ends first ends
HEAR_NS = 300_000_000  # a program's subscriptions are told after its question at most so much later
PENDING_MAX = 256  # requests that wait for a first packet at the same time
WAIT_S_MAX = 30.0
WAITING = "waiting for today's instrument list"
NOT_LISTED = "not in today's instrument list"
_RANK: dict[Mode, int] = {"ltp": 1, "quote": 2, "full": 3}


@dataclass
class Pending:
    """A `subscribe` that waits for first packets. `ticket` is whom to answer, `mode` what was asked
    for. heard_ns: until then a program's own subscriptions may still be on their way, and with
    them the knowledge whether there is room."""

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
        """`kept`: what streamed before a restart though the instrument list lacked it."""
        self._configured = dict.fromkeys(configured)  # ordered, and quick to ask
        self._canaries = frozenset(canaries)
        self._default_mode: Mode = default_mode
        self.operator: dict[str, str | None] = dict(operator)
        # key -> mode (None: as configured) -> boot time it is dropped, 0 while listened to
        self._listeners: dict[str, dict[Mode | None, int]] = {}
        self._read: frozenset[str] = frozenset()  # what else is listened to, as the sources know
        self._has_stirred = False  # listeners or the operator since `expire` last looked
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
        """Every wanted key with its mode, the configured ones first."""
        return {key: self._mode_of(key) for key in dict.fromkeys(self._keys())}

    def _keys(self) -> Iterator[str]:
        return chain(self._configured, self._canaries, self.operator, self._listeners)

    def _mode_of(self, key: str) -> Mode:
        return max((mode for mode, _ in self._asks(key)), key=_RANK.__getitem__)

    def _asks(self, key: str) -> list[tuple[Mode, str]]:
        """In which modes `key` is asked for, and by whom."""
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
        """Whether it is wanted without any program."""
        return key in self._configured or key in self._canaries or key in self.operator

    def _why_higher(self, key: str, asked: Mode | None) -> str:
        """Why `key` streams in a higher mode than was asked for; empty if it does not."""
        asks = self._asks(key)
        if asked is None or not asks:
            return ""
        mode, who = max(asks, key=lambda ask: _RANK[ask[0]])
        if _RANK[mode] <= _RANK[asked]:
            return ""
        return f"it streams in {mode}, not {asked}, because {who} for that"

    def want(self, keys: Iterable[str], mode: Mode | None) -> None:
        """The operator's `subscribe`: kept until `drop`."""
        self._has_stirred = True
        for key in keys:
            self.operator[key] = mode

    def drop(self, key: str, *, may_search: bool = True) -> Answer:
        """The operator's `unsubscribe`; others may still want it, and then it stays. `may_search`:
        for near names, if it is not one that was subscribed; that takes its time."""
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
        """Take the whole list of what programs subscribe to on the feed. True when wants may have
        changed by it. The wish of a program that leaves is kept for a grace; a name that nobody
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
        """Bounds what is in its grace: programs may come and go with ever new instruments."""
        extra = len(self._listeners) - LISTENED_MAX
        if extra <= 0:
            return False
        leaving = [(max(w.values()), key) for key, w in self._listeners.items() if all(w.values())]
        for _, key in sorted(leaving)[:extra]:
            del self._listeners[key]
        return True

    def expire(self, now_ns: int) -> bool:
        """Forgets listeners whose grace is over; True when the sources are to be told of it, or of
        who listens now: once a second is soon enough, and programs may come and go all the time."""
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
        """Those of `keys`, of all that are wanted by default, that the shell should look up."""
        asked = self._keys() if keys is None else keys
        missing = (k for k in asked if k not in self._listed and k not in self.unknown)
        return list(dict.fromkeys(missing))

    def resolved(self, listed: Mapping[str, Listed], unknown: Mapping[str, str]) -> None:
        """Take what the instrument list said: a token, or a sentence why there is none."""
        if len(self.unknown) > LIST_MAX:  # programs may ask for anything
            self.unknown.clear()
        self._listed.update(listed)
        self.unknown.update(unknown)

    def in_use(self) -> dict[str, Listed]:
        """What is wanted and was found in the list."""
        return {key: self._listed[key] for key in self.wanted() if key in self._listed}

    def relisted(
        self, found: Mapping[str, Listed], owners: Mapping[int, str], day_ist: str
    ) -> None:
        """A new list is in use: `found` is what it has of `in_use`, `owners` whose tokens it says
        the others have now. Tokens are recycled, so what expired is forgotten, and so is a token
        that is another's now; what the list merely lacks streams on."""
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
        """What the sources should deliver. What is beyond the limit of all sockets is refused: of
        listeners first, then of the operator, of the configuration last."""
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
        # Of others there is room now, or nobody wants them any more.
        self.unknown = {key: why for key, why in self.unknown.items() if why != self._over_limit}
        self.unknown |= over
        return tuple(found)

    def may_be_had(self, key: str) -> bool:
        """Whether it is worth wanting: room is given by who wants it, names are not."""
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
        """Tell what became of `key` so far; `waiting_for` is said when nothing came yet, and which
        mode it has when that is not the one `asked` for."""
        if key in self.unknown:
            return Answer(key, "refused", self.unknown[key])
        higher = self._why_higher(key, asked)
        if self.is_confirmed(key):
            return Answer(key, "confirmed", higher)
        if not self.is_known(key):
            waiting_for = self.waiting
        return Answer(key, "accepted", f"{waiting_for}; {higher}" if higher else waiting_for)

    def progress(self, key: str, now_ns: int) -> str:
        """What has come of what was asked of Kite, of one that is not confirmed; empty for one
        that was not asked for yet."""
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
        """What is said of a name that could not be looked up yet."""
        self.waiting = why

    def hold(self, pending: Pending) -> None:
        self.pending.append(pending)

    def redirect(self, ticket: tuple[bytes, str]) -> None:
        """The same request from a new connection: the answer goes there."""
        for pending in self.pending:
            if pending.ticket[1] == ticket[1]:
                pending.ticket = ticket

    def due(self, now_ns: int, can_stream: bool) -> list[Pending]:
        """Pending requests that can be answered now: all is known, time is over, or nothing is
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
    """Key -> the modes that its readers want, none of which is leaving; in the order told, so that
    the same events give the same commands."""
    also_plain = frozenset(told.also_plain)
    wishes: dict[str, dict[Mode | None, int]] = {}
    for key in told.keys:
        mode = told.modes.get(key)
        wishes[key] = {mode: 0, None: 0} if key in also_plain else {mode: 0}
    return wishes


def _over_limit(capacity: Capacity) -> str:
    """Why an instrument cannot be had, and what to do."""
    sockets, per_socket = capacity
    why = f"over the limit of {capacity.total:,} instruments ({sockets} sockets of {per_socket:,})"
    if capacity == WHOLE_KEY:
        return f"{why}: `kitefeed unsubscribe` others"
    return f"{why}: `kitefeed unsubscribe` others, or raise it in [kite] of the configuration"
