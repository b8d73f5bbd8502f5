"""The simulator as a process: one line when ready, then until SIGINT or SIGTERM."""

import asyncio
import errno
import os
import signal
import sys
import tempfile

from kitefeed.simulator.discovery import Announcement
from kitefeed.simulator.market import Market
from kitefeed.simulator.options import Options
from kitefeed.simulator.server import Simulator


def run(options: Options, market: Market | None = None) -> int:
    """The exit code: 0 after a signal, 69 when the address cannot be listened on. `market`: another
    than that of the options."""
    try:
        asyncio.run(_run(options, market))
    except OSError as error:
        print(_sentence(options, error), file=sys.stderr)
        return os.EX_UNAVAILABLE
    return 0


def _sentence(options: Options, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {options.port} on {options.host} is taken: "
            "name another one with --port (0 takes any free one)."
        )
    reason = error.strerror or str(error)
    return f"Cannot listen on {options.host}:{options.port} ({reason}): see --host and --port."


async def _run(options: Options, market: Market | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    simulator = Simulator(
        host=options.host,
        port=options.port,
        seed=options.seed,
        instruments=options.instruments,
        apps=options.apps,
        market_open=options.market == "open",
        tick_hz=options.tick_hz,
        limits=options.limits,
        refresh_tokens=options.refresh_tokens,
        redirect_url=options.redirect_url,
        market=market,
    )
    await simulator.start()
    announcement = _announce(simulator.rest_url)
    try:
        print(simulator.ready_line(), flush=True)
        await stopped.wait()
    finally:
        if announcement is not None:
            announcement.withdraw()
        await simulator.stop()


def _announce(rest_url: str) -> Announcement | None:
    try:
        return Announcement(rest_url)
    except OSError as error:  # the simulator works without it; only --url has to be given then
        print(
            f"`kitefeed simulate fault` will need --url {rest_url}: no file can be written in "
            f"{tempfile.gettempdir()} ({error.strerror}).",
            file=sys.stderr,
        )
        return None
