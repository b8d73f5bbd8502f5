"""A poller under virtual time, with Kite played by the test."""

from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.rest_poller.machine import Answered, Ask, RestPoller
from kitefeed.protocol.feed import IngestBatch
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument

S = 1_000_000_000
PERIOD_NS = 5 * S


class Stage:
    """A poller under virtual time, with Kite played by the test."""

    def __init__(self) -> None:
        self.poller = RestPoller()
        self.at_ns = 100 * S
        self.asked: list[tuple[int, Ask]] = []

    def tell(self, event: object) -> list[object]:
        commands = list(self.poller.handle(event, self.at_ns))  # type: ignore[arg-type]
        self.asked += [(self.at_ns, c) for c in commands if isinstance(c, Ask)]
        return commands

    def start(self, *instruments: Instrument, epoch: int = 1, shard: int = 0) -> list[object]:
        return self.tell(m.StartPolling(shard, epoch, "fp", PERIOD_NS, instruments))

    def wait(self, seconds: float) -> list[object]:
        """Lets time pass and says what was reported; beats are left out."""
        until_ns, said = self.at_ns + int(seconds * S), []
        while (due_ns := self.poller.deadline_ns) is not None and due_ns <= until_ns:
            self.at_ns = max(self.at_ns, due_ns)
            said += self.tell(Wake())
        self.at_ns = until_ns
        return [c for c in said if not isinstance(c, IngestBatch)]

    def answer(self, outcome: m.RestOutcome = "ok", price: float = 1_580.25) -> list[object]:
        """Answers the latest request with a quote of everything it asked for."""
        ask = self.asked[-1][1]
        quotes = {token: quote(token, price) for token in ask.tokens} if outcome == "ok" else {}
        return self.tell(Answered(ask.request, outcome, quotes, "" if outcome == "ok" else "why"))


def quote(token: int, price: float = 1_580.25) -> dict[str, object]:
    return {"instrument_token": token, "last_price": price, "volume": 7}


def polled(commands: list[object]) -> list[m.Polled]:
    return [command for command in commands if isinstance(command, m.Polled)]


def batches(commands: list[object]) -> list[IngestBatch]:
    return [command for command in commands if isinstance(command, IngestBatch)]
