"""Is this session alive? One profile call per question, the newest question first. Pure.

The verdict `refused` is reserved for Kite saying so; everything else that goes wrong says nothing
about the token and is `unverified`.
"""

import msgspec

from kitefeed.actors.policy.machine import Wake
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m

TIMEOUT_NS = 3 * NS_PER_S  # total: recovery is promised within 5 s of a login
CALLS_MAX = 4  # at once; more than the questions that can matter at one time
WAITING_MAX = 8  # the oldest of more is answered unverified


class Answered(msgspec.Struct, frozen=True):
    """The outcome of the call for this request."""

    request_id: int
    verdict: m.Verdict
    user_id: str | None = None
    user_name: str | None = None
    detail: str = ""


class Ask(msgspec.Struct, frozen=True):
    """Read the session and call `profile()` in a thread; `Answered` then comes, however late."""

    request_id: int
    fingerprint: str


Event = m.BusMessage | Answered | Wake
Command = Ask | m.Validated


class TokenValidator:
    """Lets questions wait and run, and answers each once: by Kite, or by the clock."""

    def __init__(self) -> None:
        self._deadlines_ns: dict[int, int] = {}  # of every unanswered request
        self._requests: dict[int, m.Validate] = {}
        self._waiting: list[int] = []  # oldest first
        self._calls: set[int] = set()  # threads in use, also by calls nobody waits for any more

    @property
    def deadline_ns(self) -> int | None:
        return min(self._deadlines_ns.values(), default=None)

    def handle(self, event: Event, now_ns: int) -> list[Command]:
        match event:
            case m.Validate():
                return self._accept(event, now_ns)
            case Answered():
                self._calls.discard(event.request_id)
                return [*self._answer(event), *self._start()]
            case Wake():
                due = [number for number, at_ns in self._deadlines_ns.items() if at_ns <= now_ns]
                detail = f"no answer within {TIMEOUT_NS // NS_PER_S} s"
                return [command for number in due for command in self._give_up(number, detail)]
            case _:
                return []

    def _accept(self, request: m.Validate, now_ns: int) -> list[Command]:
        if request.request_id in self._requests or request.request_id in self._calls:
            return []
        self._requests[request.request_id] = request
        self._deadlines_ns[request.request_id] = now_ns + TIMEOUT_NS
        self._waiting.append(request.request_id)
        started = self._start()
        if len(self._waiting) <= WAITING_MAX:
            return started
        return [*started, *self._give_up(self._waiting[0], "too many questions at once")]

    def _start(self) -> list[Command]:
        commands: list[Command] = []
        while self._waiting and len(self._calls) < CALLS_MAX:
            request = self._requests[self._waiting.pop()]
            self._calls.add(request.request_id)
            commands.append(Ask(request.request_id, request.fingerprint))
        return commands

    def _give_up(self, request_id: int, detail: str) -> list[Command]:
        return self._answer(Answered(request_id, "unverified", detail=detail))

    def _answer(self, answer: Answered) -> list[Command]:
        """Return the report, unless this request was answered before."""
        request = self._requests.pop(answer.request_id, None)
        if request is None:
            return []
        del self._deadlines_ns[answer.request_id]
        if answer.request_id in self._waiting:
            self._waiting.remove(answer.request_id)
        return [
            m.Validated(
                request_id=request.request_id,
                fingerprint=request.fingerprint,
                slot=request.slot,
                verdict=answer.verdict,
                user_id=answer.user_id,
                user_name=answer.user_name,
                detail=answer.detail,
            )
        ]
