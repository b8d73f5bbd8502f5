"""The feed in an asyncio program: one task reads, another one does something else meanwhile.

python examples/async_reader.py NSE:INFY "NSE:NIFTY 50"
"""

import asyncio
import sys

from kitefeed import AsyncFeed, KitefeedError

SAY_EVERY_S = 10.0


async def say_how_it_is(feed: AsyncFeed) -> None:
    while True:
        print(f"-- feed {feed.status}, {len(feed.snapshot())} instruments", flush=True)
        await asyncio.sleep(SAY_EVERY_S)


async def main(*instruments: str) -> None:
    async with AsyncFeed(*instruments) as feed:
        task = asyncio.create_task(say_how_it_is(feed))
        try:
            async for tick in feed:
                word = tick.source if tick.is_fresh else f"{tick.source}, do not trade"
                print(f"{tick.instrument:24} {tick.last_price:12.2f}  {word}", flush=True)
        finally:
            task.cancel()


try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    pass
except KitefeedError as error:
    sys.exit(str(error))
