"""An update of an order, as a program gets it."""

from typing import Literal

OrderSource = Literal["websocket", "rest"]


class Order(dict[str, object]):
    """Kite's order object. `source`: websocket as Kite sent it; rest when Kite had nobody to send
    it to and it was found in the order book: as the order stands there, steps between left out."""

    source: OrderSource

    def __init__(self, data: dict[str, object], source: OrderSource) -> None:
        super().__init__(data)
        self.source = source
