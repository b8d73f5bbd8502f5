"""Asks the daemon on its host, for a client, whether instruments can be had, and how they are
called. All of it blocks, until the deadline at most."""

from kitefeed.client.wants import ANY, checked, checked_mode
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import BadInput, Unavailable
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.messages.control import (
    Answer,
    Answers,
    Named,
    NameTokens,
    Refused,
    WantInstruments,
)
from kitefeed.protocol.messages.instruments import Mode
from kitefeed.protocol.sockets import request

REQUEST_TRIES = 2
NO_TOKEN = "is no token of today's instrument list: `kitefeed instruments find TEXT` shows them"


class Upstream:
    """`control`: the daemon's address for requests. None where there is no such address: over tcp,
    and for a reader that was given no more than the feed's."""

    def __init__(self, control: str | None) -> None:
        self._control = control

    def names_of(self, asked: list[str | int], deadline_ns: int) -> dict[str | int, str]:
        """Return the name of each that has one. Blocks where there are tokens."""
        names: dict[str | int, str] = {one: one for one in asked if isinstance(one, str)}
        tokens = tuple(dict.fromkeys(one for one in asked if isinstance(one, int)))
        if not tokens:
            return names
        if not self._control:
            raise BadInput(
                f"{tokens[0]} is a token, and only the daemon's own host can look it up: "
                "write EXCHANGE:SYMBOL, as NSE:INFY"
            )
        wish = NameTokens(tokens)
        reply = request(self._control, wish, timeout_s=_left_s(deadline_ns), tries=REQUEST_TRIES)
        if not isinstance(reply, Named):
            text = reply.text if isinstance(reply, Refused) else "an answer of another kind"
            raise Unavailable(f"The tokens cannot be looked up: {text}")
        for token, name in reply.names.items():
            names[token] = name
        return names

    def want(
        self, names: tuple[str, ...], mode: Mode | None, deadline_ns: int
    ) -> tuple[Answer, ...]:
        """Ask whether these can be had, blocking; nothing where nobody answers."""
        if not names or not self._control:
            return ()
        wish = WantInstruments(names, mode, is_kept=False, wait_s=0)
        try:
            reply = request(
                self._control, wish, timeout_s=_left_s(deadline_ns), tries=REQUEST_TRIES
            )
        except (Unavailable, *DECODE_ERRORS):
            return ()
        if isinstance(reply, Refused) and reply.code == "bad_request":
            raise BadInput(reply.text)
        return reply.answers if isinstance(reply, Answers) else ()

    def inquire(
        self, asked: list[str | int], mode: Mode | None, deadline_ns: int
    ) -> tuple[Answer, ...]:
        """Return one answer for each; `accepted` where nobody answers."""
        checked_mode(mode)
        wished = list(dict.fromkeys(asked))
        names = self.names_of(wished, deadline_ns)
        answers: dict[str, Answer] = {}
        for one in wished:
            name = names.get(one, str(one))
            answers[name] = Answer(name, "accepted")
            refusal = _refusal(name) if one in names else f"{one} {NO_TOKEN}"
            if refusal:
                answers[name] = Answer(name, "refused", refusal)
        good = tuple(name for name, answer in answers.items() if answer.outcome == "accepted")
        told = self.want(good, mode, deadline_ns)
        return tuple({**answers, **{answer.instrument: answer for answer in told}}.values())


def _left_s(deadline_ns: int) -> float:
    return max(0.05, (deadline_ns - boot_ns()) / 1e9)


def _refusal(name: str) -> str:
    """Say why this cannot be an instrument; empty when it can."""
    if name.endswith(ANY):
        return "a pattern is read from the beginning or not at all: Feed('NSE:NIFTY*')"
    try:
        checked(name)
    except BadInput as error:
        return str(error)
    return ""
