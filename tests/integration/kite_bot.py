"""A bot on the official Python client, unmodified: says what happens to it in lines of JSON."""

import json
import sys
from typing import Any

from kiteconnect import KiteTicker

root, password, tokens, mode = json.loads(sys.argv[1])


def say(**what: Any) -> None:
    print(json.dumps(what, default=str), flush=True)


def on_connect(ws: Any, response: Any) -> None:
    say(event="connect")
    ws.subscribe(tokens)
    ws.set_mode(mode, tokens)


ticker = KiteTicker("any", password, root=root, reconnect_max_tries=50)
ticker.on_connect = on_connect
ticker.on_ticks = lambda ws, ticks: say(event="ticks", ticks=ticks)
ticker.on_order_update = lambda ws, order: say(event="order", order=order)
ticker.on_error = lambda ws, code, reason: say(event="error", code=code, reason=reason)
ticker.on_close = lambda ws, code, reason: say(event="close", code=code, reason=reason)
ticker.on_reconnect = lambda ws, tries: say(event="reconnect", tries=tries)
ticker.connect()
