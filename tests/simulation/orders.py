"""The orders of the account at Kite: each goes through its life while sockets come and go. What a
program is told of them is compared: every state once, none before another, and the last in the end.
"""

from __future__ import annotations

from datetime import datetime
from random import Random
from typing import TYPE_CHECKING

from kitefeed.client.order import Order
from kitefeed.protocol.kite.text import OrderUpdate, server_message
from kitefeed.protocol.kite.units import IST
from tests.simulation.exchange import S
from tests.simulation.life import require

if TYPE_CHECKING:
    from tests.simulation.kite import Socket
    from tests.simulation.world import World

QUANTITY = 100
USER = "AB1234"
ON_THE_WAY_S = 1.5  # the longest that an update takes; the book is often quicker
LOOK_S = 0.5
READS_APART_NS = 5 * S
# What a dead transport held may come by another socket first: a second copy, after the echo.
HELD_NS = 30 * S


class Orders:
    """Kite's book. `version`, a field that Kite has not, counts an order's states. They begin when
    the daemon has read the account's first book."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = Random(f"orders {seed}")  # its own: the rest of the day is as without orders
        self.rows: dict[str, dict[str, object]] = {}
        self._told: dict[str, int] = {}  # order -> the version that was last published
        self._last_ns: dict[int, int] = {}  # socket -> delivery of its last text: they keep order
        self._held_ns = -HELD_NS
        self._read_ns, self._reader = -READS_APART_NS, 0
        self._has_begun = False
        self.healed = 0
        world.after(self.rng.uniform(5, 60), self._happen)

    # --- Kite ---------------------------------------------------------------------------------

    def book(self) -> list[dict[str, object]]:
        """As it is now, for one more reading."""
        now_ns, life = self.world.now_ns, self.world.poller.life
        is_apart = now_ns - self._read_ns >= READS_APART_NS or life != self._reader
        require(is_apart, "the order book is asked for every 5 s at most")
        self._read_ns, self._reader = now_ns, life
        if self.rng.random() < 0.5:
            self.change()  # the socket is open, and brings it later
        return [dict(row) for row in self.rows.values()]

    def _happen(self) -> None:
        """Change an order now and then: seldom while nothing else goes on, because it ends a quiet
        stretch."""
        low_s, high_s = (0.05, 4) if self.rng.random() < 0.6 else (20, 200)
        if self.world.is_calm():
            low_s, high_s = 300, 2_000
        self.world.after(self.rng.uniform(low_s, high_s), self._happen)
        self.change()

    def change(self) -> None:
        """Something happens to an order."""
        self._has_begun = self._has_begun or self._is_read
        if not self._has_begun:
            return
        alive = [row for row in self.rows.values() if row["status"] == "OPEN"]
        row = self.rng.choice(alive) if len(alive) > 3 else self._placed()
        word = "OPEN" if row["version"] == 0 else self._moved(row)
        time = f"{datetime.fromtimestamp(self.world.true_utc_ns // S, IST):%Y-%m-%d %H:%M:%S}"
        row |= {"version": int(str(row["version"])) + 1, "order_timestamp": time,
                "exchange_update_timestamp": time}  # fmt: skip
        self._tell(server_message(OrderUpdate({**row, "status": word, "user_id": USER})))

    @property
    def _is_read(self) -> bool:
        mouth = self.world.mouth
        return mouth.is_up and bool(mouth.machine.orders.accounts)

    def _placed(self) -> dict[str, object]:
        order_id = f"2611{len(self.rows):06d}"
        self.rows[order_id] = {
            "order_id": order_id, "status": "OPEN", "filled_quantity": 0, "quantity": QUANTITY,
            "price": 100.0, "order_type": "LIMIT", "version": 0,
        }  # fmt: skip
        return self.rows[order_id]

    def _moved(self, row: dict[str, object]) -> str:
        """Let something happen to an open order; return Kite's word for it."""
        filled = int(str(row["filled_quantity"]))
        what = self.rng.choice(["fill", "fill", "price", "complete", "CANCELLED"])
        if what == "fill" and filled < QUANTITY - 1:
            row["filled_quantity"] = self.rng.randint(filled + 1, QUANTITY - 1)
        elif what == "CANCELLED":
            row["status"] = what
        elif what == "complete":
            row |= {"status": "COMPLETE", "filled_quantity": QUANTITY}
        else:
            row["price"] = float(str(row["price"])) + 0.05
        return "UPDATE" if row["status"] == "OPEN" else str(row["status"])

    def _tell(self, text: bytes) -> None:
        """Every socket that is open now; a second later is too late."""
        life = self.world.ticker.life
        for socket in self.world.kite.sockets.values():
            if socket.is_open:
                way_ns = int(self.rng.uniform(0.01, self.rng.choice([0.05, ON_THE_WAY_S])) * S)
                at_ns = max(self._last_ns.get(id(socket), 0) + 1, self.world.now_ns + way_ns)
                self._last_ns[id(socket)] = at_ns
                self.world.at(at_ns, lambda s=socket: self._arrive(s, life, text))  # type: ignore[misc]

    def _arrive(self, socket: Socket, life: int, text: bytes) -> None:
        """Bring an update to a socket; what a dead transport holds comes when it revives, or
        never."""
        world = self.world
        if world.ticker.life != life or world.kite.sockets.get(socket.link) is not socket:
            return
        if socket.fault == "half_open":
            self._held_ns = world.now_ns
            at_ns = max(self._last_ns[id(socket)] + 1, world.now_ns + int(LOOK_S * S))
            self._last_ns[id(socket)] = at_ns
            world.at(at_ns, lambda: self._arrive(socket, life, text))
            return
        ticker = world.ticker
        ticker.do(lambda: ticker.frame(socket.link, text, is_binary=False, is_new=False))

    # --- the program --------------------------------------------------------------------------

    def heard(self, order: Order) -> None:
        order_id, version = str(order["order_id"]), int(str(order["version"]))
        last = self._told.get(order_id, 0)
        is_copy = order.source == "websocket" and self.world.now_ns - self._held_ns < HELD_NS
        require(version > last or is_copy, "an update of an order is told once, and none before it")
        is_truth = version <= int(str(self.rows[order_id]["version"]))
        require(is_truth, "what is told of an order has happened")
        self.healed += order.source == "rest"
        self._told[order_id] = max(version, last)

    def untold(self) -> list[str]:
        """Orders whose last state no program was told of. After a wrong clock another day may have
        begun for the daemon: its first book is where it begins."""
        if not self._is_read:
            return ["any"]
        if self.world.has_stepped:
            return []
        return [i for i, row in self.rows.items() if self._told.get(i, 0) != row["version"]]
