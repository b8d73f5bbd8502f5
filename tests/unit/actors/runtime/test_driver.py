import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.runtime.driver import Driver
from kitefeed.protocol.clock import boot_ns

MS = 1_000_000


class Recorder:
    """A machine that keeps what it is given; `commands` are the answers to named events."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.commands: dict[str, list[str]] = {}
        self.deadline_ns: int | None = None
        self.woken = asyncio.Event()

    def handle(self, event: object, now_ns: int) -> list[str]:
        self.events.append(event)
        if isinstance(event, Wake):
            assert self.deadline_ns is None or now_ns >= self.deadline_ns
            self.deadline_ns = None
            self.woken.set()
        return self.commands.get(str(event), [])


def on_a_loop(main: Callable[[Recorder], Awaitable[None]]) -> None:
    async def live() -> None:
        await main(Recorder())

    asyncio.run(live())


def test_commands_are_performed_in_order() -> None:
    async def main(machine: Recorder) -> None:
        performed: list[str] = []
        machine.commands = {"go": ["one", "two"]}
        Driver(machine, performed.append).feed("go")
        assert performed == ["one", "two"]

    on_a_loop(main)


def test_an_event_fed_by_a_command_waits_for_the_commands_of_its_step() -> None:
    async def main(machine: Recorder) -> None:
        performed: list[str] = []
        machine.commands = {"go": ["feed", "last"], "inner": ["inner command"]}

        def perform(command: str) -> None:
            performed.append(command)
            if command == "feed":
                driver.feed("inner")
                assert machine.events == ["go"]

        driver = Driver(machine, perform)
        driver.feed("go")
        assert performed == ["feed", "last", "inner command"]

    on_a_loop(main)


def test_the_machine_is_woken_at_its_deadline_and_not_before() -> None:
    async def main(machine: Recorder) -> None:
        driver = Driver(machine, lambda command: None)
        machine.deadline_ns = boot_ns() + 30 * MS
        driver.feed("go")
        await asyncio.wait_for(machine.woken.wait(), 5)
        assert machine.events == ["go", Wake()]

    on_a_loop(main)


def test_a_deadline_that_moves_nearer_is_kept() -> None:
    async def main(machine: Recorder) -> None:
        driver = Driver(machine, lambda command: None)
        machine.deadline_ns = boot_ns() + 60_000 * MS
        driver.feed("far")
        machine.deadline_ns = boot_ns()
        driver.feed("near")
        await asyncio.wait_for(machine.woken.wait(), 5)

    on_a_loop(main)


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_deadline_that_is_withdrawn_wakes_nobody(is_closed: bool) -> None:
    async def main(machine: Recorder) -> None:
        driver = Driver(machine, lambda command: None)
        machine.deadline_ns = boot_ns() + 5 * MS
        driver.feed("go")
        if is_closed:
            driver.close()
        else:
            machine.deadline_ns = None
            driver.feed("never mind")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(machine.woken.wait(), 0.05)

    on_a_loop(main)


def test_an_error_of_the_machine_reaches_the_caller_and_the_next_event_is_handled() -> None:
    async def main(machine: Recorder) -> None:
        def perform(command: str) -> None:
            raise RuntimeError(command)

        machine.commands = {"bad": ["boom"]}
        driver = Driver(machine, perform)
        with pytest.raises(RuntimeError, match="boom"):
            driver.feed("bad")
        driver.feed("good")
        assert machine.events == ["bad", "good"]

    on_a_loop(main)


class Hands:
    """Clock and timer of a driver, moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * MS
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay_s: float, act: Callable[[], None]) -> "Hands":
        self.timers.append((delay_s, act))
        return self

    def cancel(self) -> None:
        self.timers.pop()


def test_a_driver_runs_on_whatever_clock_and_timer_it_is_given() -> None:
    hands, machine = Hands(), Recorder()
    driver = Driver(machine, print, lambda: hands.now_ns, hands.call_later, lambda: "due")
    machine.deadline_ns = hands.now_ns + 250 * MS
    driver.feed("go")
    ((delay_s, act),) = hands.timers
    assert delay_s == 0.25
    act()
    assert machine.events == ["go", "due"]


def test_steps_of_a_machine_run_one_after_the_other_with_the_time() -> None:
    hands, done = Hands(), list[str]()
    driver = Driver(Recorder(), lambda command: driver.do(inner), lambda: hands.now_ns,
                    hands.call_later)  # fmt: skip

    def inner(now_ns: int) -> list[str]:
        done.append(f"inner at {now_ns // MS}")
        return []

    def outer(now_ns: int) -> list[str]:
        done.append("outer")
        return ["one", "two"]

    driver.do(outer)
    assert done == ["outer", "inner at 1000", "inner at 1000"]


def test_what_is_overdue_waits_as_long_as_it_is_told_to() -> None:
    delays: list[float] = []

    class Timers:
        def cancel(self) -> None: ...

    def call_later(delay_s: float, act: Callable[[], None]) -> Timers:
        delays.append(delay_s)
        return Timers()

    for options in ({}, {"delay_s_min": 0.0}):
        machine = Recorder()
        machine.deadline_ns = 0
        Driver(machine, print, lambda: 5 * MS, call_later, **options).feed("go")
    assert delays == [0.001, 0.0]


def test_one_that_is_closed_hears_nothing_and_sets_no_timer() -> None:
    async def main(machine: Recorder) -> None:
        driver = Driver(machine, lambda command: driver.close())
        machine.commands = {"go": ["close"]}
        machine.deadline_ns = boot_ns()
        driver.feed("go")
        driver.feed("late")
        await asyncio.sleep(0)
        assert machine.events == ["go"]
        assert driver._timer is None

    on_a_loop(main)
