"""Makes the setup of the supervisor's core from the configuration."""

import logging
import os
import random

from kitefeed import __version__
from kitefeed._hot import BUILD
from kitefeed.actors.policy.market import Market
from kitefeed.actors.runtime import calendar_file
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.supervisor.core import Setup
from kitefeed.actors.supervisor.report import Surroundings
from kitefeed.actors.supervisor.shards import Capacity
from kitefeed.protocol.topology import Role, endpoints

log = logging.getLogger(Role.SUPERVISOR)


def setup_of(runtime: Runtime) -> Setup:
    """Make the setup. Log an error when the configuration cannot be used, and there are only
    defaults."""
    settings, config = runtime.settings, runtime.settings.config
    if runtime.misconfigured:
        log.error("misconfigured: %s", runtime.misconfigured)
    return Setup(
        runtime.boot_id,
        Market(config.market.hours, calendar_file.load(settings.calendar_path)),
        random.random,
        config.backoff_s,
        config.instruments,
        config.canaries,
        config.mode,
        Capacity(config.kite.sockets_max, config.kite.instruments_per_socket),
        config.session.elsewhere,
        runtime.misconfigured,
        os.geteuid(),
        Surroundings(
            os.getpid(), __version__, endpoints(settings.runtime_dir), settings.digests,
            config.kite.target(), settings.tcp_feed, BUILD,
        ),
    )  # fmt: skip
