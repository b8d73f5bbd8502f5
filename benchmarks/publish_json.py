"""Does what many write first: reads the feed and publishes each tick as JSON.

    python -m benchmarks.publish_json

It is told {"config": PATH, "url": URL}, and says {"ready": true} when it publishes.
"""

import asyncio
import json

import nats

from benchmarks import reading, subject


async def main() -> None:
    told = reading.hear()
    client = await nats.connect(told["url"])
    with subject.open_feed(told["config"], []) as feed:
        reading.say({"ready": True})
        while True:
            tick = feed.next(0.02)
            if tick is None:
                await asyncio.sleep(0)
                continue
            subject_ = "json." + tick.instrument.replace(" ", "_").replace(":", ".")
            await client.publish(subject_, json.dumps(tick.to_dict(), default=str).encode())


if __name__ == "__main__":
    asyncio.run(main())
