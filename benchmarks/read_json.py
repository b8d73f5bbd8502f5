"""A program that reads what `publish_json` publishes, and makes dicts of it.

    python -m benchmarks.read_json

`address` of its Spec is the server's URL. Of each tick the instrument and the price are compared:
the rest went through floating point.
"""

import asyncio
import json
import time
from array import array
from typing import Any

import nats

from benchmarks import reading
from benchmarks.frames import FRAMES_MAX, Plan, price_of, token_of


async def collect(given: reading.Spec) -> tuple[list[tuple[int, int]], "array[int]"]:
    client = await nats.connect(given.address)
    kept: list[tuple[int, int]] = []
    times_ns = array("q")
    low, high = given.first_price, given.first_price + FRAMES_MAX

    async def take(message: Any) -> None:
        tick = json.loads(message.data)
        price = round(tick["last_price"] * 100)
        if low <= price < high:
            kept.append((tick["instrument_token"], price))
            times_ns.append(time.monotonic_ns())

    await client.subscribe("json.>", cb=take)
    await client.flush()
    reading.say({"ready": True})
    count, quiet_s = 0, 0.0
    while len(kept) < given.ticks and quiet_s < (reading.SILENT_S if kept else 20):
        await asyncio.sleep(0.05)
        quiet_s = 0.0 if len(kept) > count else quiet_s + 0.05
        count = len(kept)
    await client.close()
    return kept, times_ns


def is_same(packet: bytes, tick: Any) -> bool:
    return bool((token_of(packet), price_of(packet)) == tick)


def main() -> None:
    given = reading.spec()
    kept, times_ns = asyncio.run(collect(given))

    def received(plan: Plan) -> Any:
        return ((token, price, (token, price)) for token, price in kept)

    reading.report(given, is_same, received, times_ns)


if __name__ == "__main__":
    main()
