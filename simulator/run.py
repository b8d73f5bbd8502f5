"""The simulator as a process: one line when ready, then until SIGINT or SIGTERM."""

import asyncio
import errno
import os
import signal
import sys

from kitefeed.simulator import discovery
from kitefeed.simulator.options import Options
from kitefeed.simulator.server import Simulator


def run(options: Options) -> int:
    """The exit code: 0 after a signal, 69 when the address cannot be listened on."""
    try:
        asyncio.run(_run(options))
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


async def _run(options: Options) -> None:
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
        redirect_url=options.redirect_url,
    )
    await simulator.start()
    try:
        _announce(simulator.rest_url)
        print(simulator.ready_line(), flush=True)
        await stopped.wait()
    finally:
        discovery.withdraw(simulator.rest_url)
        await simulator.stop()


def _announce(rest_url: str) -> None:
    try:
        discovery.announce(rest_url)
    except OSError as error:  # the simulator works without it; only --url has to be given then
        print(f"Cannot write {discovery.address_file()}: {error}", file=sys.stderr)
