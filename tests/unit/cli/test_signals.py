"""A command with children is told to end."""

import os
import signal
from collections.abc import Iterator

import pytest

from kitefeed.cli import signals
from kitefeed.cli.waiting import pause, wait_until

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def told_to_note() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDING}
    signals.note_when_told_to_end()
    yield
    signals.ignore_interrupts()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_interrupts_no_work_and_ends_the_next_wait() -> None:
    os.kill(os.getpid(), signal.SIGINT)  # with Python's own handler it would raise here
    with pytest.raises(KeyboardInterrupt):
        pause(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_exit_code_names_the_signal(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    with pytest.raises(SystemExit) as ended:
        wait_until(lambda: False, 5)
    assert ended.value.code == 128 + number


def test_clearing_up_is_not_interrupted_by_what_began_it_nor_by_more() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    signals.ignore_interrupts()
    os.kill(os.getpid(), signal.SIGINT)
    pause(0)
