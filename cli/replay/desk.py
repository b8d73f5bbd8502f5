"""Answers those who ask a replay on `control`, as a daemon would. Pure."""

from collections.abc import Mapping

from kitefeed.cli.replay.machine import WORD, Replay
from kitefeed.protocol.messages.control import (
    Answer,
    Answers,
    ControlReply,
    ControlRequest,
    DropInstruments,
    GetStatus,
    Named,
    NameTokens,
    ReaderReport,
    Refused,
    Status,
    WantInstruments,
)
from kitefeed.protocol.messages.status import StatusReport, SubscriptionCounts

NOTHING_TO_DO = "this is a replay of a recorded day: there is nothing to change"


class ReplayDesk:
    """Answers requests for one replay. names: of what is played, by token."""

    def __init__(self, machine: Replay, names: Mapping[int, str], version: str) -> None:
        self._machine = machine
        self._names = names
        self._known = frozenset(names.values())
        self._version = version

    def answer(self, request: ControlRequest, endpoints: dict[str, str]) -> ControlReply | None:
        """Return the answer; None for a request that is not answered."""
        match request:
            case GetStatus():
                return Status(self._status(endpoints))
            case WantInstruments(instruments):
                return Answers(tuple(self._wanted(key) for key in instruments))
            case DropInstruments(instruments):
                return Answers(tuple(Answer(key, "dropped") for key in instruments))
            case NameTokens(tokens):
                return Named({each: self._names[each] for each in tokens if each in self._names})
            case ReaderReport():
                return None
            case _:
                return Refused("conflict", NOTHING_TO_DO)

    def _wanted(self, key: str) -> Answer:
        if key in self._known:
            return Answer(key, "confirmed")
        return Answer(key, "refused", "is not in this replay: `kitefeed verify` shows what is")

    def _status(self, endpoints: dict[str, str]) -> StatusReport:
        words, count = self._machine.words, len(self._known)
        return StatusReport(
            feed=WORD,
            source=WORD,
            session="unknown",
            override="auto",
            reason=words.reason,
            since_utc_s=words.since_utc_ns / 1e9,
            epoch=0,
            consecutive_403=0,
            retry_in_s=None,
            user_id=None,
            user_name=None,
            standby="absent",
            market={},
            next_open=None,
            subscriptions=SubscriptionCounts(count, count, count),
            subscribers=self._machine.listeners.subscribers,
            last_tick_age_s=None,
            last_outage=None,
            endpoints=endpoints,
            actors=[],
            version=self._version,
        )
