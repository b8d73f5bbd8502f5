"""For every test."""

import gc
import os
import signal
from collections.abc import Iterator
from typing import Literal

import pytest
import pytest_timeout
from hypothesis import HealthCheck, settings

from kitefeed.actors.runtime import secrets
from tests.support import slowness

# How long an example takes says how busy the host is, and nothing of what is tested.
at_any_pace = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The ordinary run is the same each time, so that a red one is the change's fault. To look for more:
# `make test ARGS='--hypothesis-profile=search tests/property'`.
settings.register_profile("ordinary", at_any_pace, derandomize=True)
settings.register_profile("search", at_any_pace, max_examples=1_000)
settings.load_profile("ordinary")

# A shell without job control starts what it puts in the background with Ctrl-C ignored, and every
# process inherits that; those that tests interrupt would go on.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Processes that tests start write bytecode, however this run was started: hundreds of them would
# compile all modules anew, which doubles what a start costs.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> Literal[True]:
    """Give a test more time as a whole on a busy host, like all that it waits for."""
    allowed_s = settings.timeout * slowness()
    pytest_timeout.pytest_timeout_set_timer(item, settings._replace(timeout=allowed_s))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of tests stay until the end: no look for garbage passes through them, in any of the
    workers, which collect all of them each."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def secrets_of_each_test_alone() -> Iterator[None]:
    """Forget what a test called a secret: it would be blotted out of the texts of later tests."""
    before = set(secrets._known)
    yield
    secrets._known.intersection_update(before)
