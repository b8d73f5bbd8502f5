"""The one state of a simulator, shared by REST, WebSocket and control, and its clock."""

from collections.abc import Callable
from dataclasses import dataclass

from kitefeed.simulator.accounts import Accounts
from kitefeed.simulator.exchange import Exchange
from kitefeed.simulator.faults import Faults
from kitefeed.simulator.market import Market
from kitefeed.simulator.stats import Stats


@dataclass(frozen=True, eq=False)
class World:
    accounts: Accounts
    market: Market
    exchange: Exchange
    faults: Faults
    stats: Stats
    wall_ns: Callable[[], int]  # UTC epoch ns
