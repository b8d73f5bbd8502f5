"""The options of `kitefeed simulate` and `python -m kitefeed.simulator`, once for both.

Standard library only, and little of it: the command line reads this at every start.
"""

from dataclasses import dataclass
from typing import NamedTuple

REDIRECT_URL = "http://127.0.0.1:8787/login/redirect"


@dataclass(frozen=True)
class Options:
    host: str = "127.0.0.1"
    port: int = 8765
    seed: int = 1
    instruments: int = 100
    apps: int = 2
    market: str = "open"
    tick_hz: float = 2.0
    limits: str = "kite"
    refresh_tokens: str = "no"
    redirect_url: str = REDIRECT_URL


class Option(NamedTuple):
    """`low` and `high` are bounds of a number; `choices` the words that are taken."""

    name: str
    help: str
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def default(self) -> str | int | float:
        value: str | int | float = getattr(Options, self.name)
        return value


OPTIONS = (
    Option("host", "Address to listen on."),
    Option("port", "TCP port of REST and WebSocket; 0 takes any free one.", 0, 65_535),
    Option("seed", "Seed of the market and of every secret.", 0, 2**63),
    Option("instruments", "Listed instruments; there are never fewer than 60.", 1, 200_000),
    Option("apps", "Kite apps, each with an account of its own.", 1, 20),
    Option("market", "Whether prices move at the start.", choices=("open", "closed")),
    Option("tick_hz", "Most ticks per second of one instrument.", 0.01, 100),
    Option("limits", "Rate limits of REST; none for a test suite.", choices=("kite", "none")),
    Option(
        "refresh_tokens", "Whether a login gets one; individuals get none.", choices=("no", "yes")
    ),
    Option("redirect_url", "Where the login page sends the browser."),
)
