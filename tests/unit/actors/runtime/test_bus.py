"""An actor's end of the bus, on a real loop, with the supervisor's end played by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kitefeed.actors.runtime import bus as bus_module
from kitefeed.actors.runtime import membership
from kitefeed.actors.runtime.bus import Bus
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.config_tables import Config
from kitefeed.actors.runtime.hello import hello_of
from kitefeed.actors.runtime.process import Runtime
from kitefeed.protocol import sockets
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.loop_socket import LoopSocket, Peer
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message, seal
from kitefeed.protocol.messages.membership import Beat, BeatAck, Challenge, Hello, Leave, Welcome
from kitefeed.protocol.topology import BUS, Role
from tests.support import bound, eventually

WITHIN_S = 5.0


async def soon(condition: Callable[[], object]) -> None:
    """`eventually`, while the loop turns."""
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.get_running_loop().run_in_executor(None, _a_moment)


def _a_moment() -> None:
    """Lets the loop turn while this thread waits."""
    looks = iter((False, True))
    eventually(lambda: next(looks), 1, every_s=0.005)


class Bench:
    """Both ends. `answers`: whether the supervisor welcomes and acknowledges."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.heard: list[m.BusMessage] = []
        self.peer = b""
        self.boot_id = "sup-1"
        self.is_answering = True
        self.received: list[m.BusMessage] = []
        self.welcomes = 0
        socket = bound(sockets.bus_socket(), runtime.settings.runtime_dir, BUS)
        self.supervisor = LoopSocket(socket, self._on_frames)
        self.bus = Bus(
            runtime,
            lambda: hello_of(runtime, highest_epoch=3),
            lambda: Beat(values=5),
            self.received.append,
            self._welcomed,
        )

    def _welcomed(self) -> None:
        self.welcomes += 1

    def _on_frames(self, frames: list[bytes]) -> None:
        self.peer = frames[0]
        message = m.open_bus(frames[-1])
        self.heard.append(message)
        if not self.is_answering:
            return
        if isinstance(message, Hello):
            self.tell(Welcome(self.boot_id))
        elif isinstance(message, Beat):
            self.tell(BeatAck())

    def tell(self, message: Message) -> None:
        self.supervisor.send([self.peer, seal(message)])

    def count(self, kind: type[Message]) -> int:
        return sum(isinstance(message, kind) for message in self.heard)


def is_welcome(b: Bench) -> bool:
    return b.bus._membership.supervisor is not None


@asynccontextmanager
async def bench(directory: Path) -> AsyncIterator[Bench]:
    runtime = Runtime(Role.TICKER, Settings(Config(), None, directory, directory), None)
    made = Bench(runtime)
    try:
        yield made
    finally:
        made.bus.close()
        if not made.supervisor.socket.closed:
            made.supervisor.close()
        runtime.lock.release()


def run(directory: Path, main: Callable[[Bench], Awaitable[None]]) -> None:
    async def live() -> None:
        async with bench(directory) as made:
            await main(made)

    asyncio.run(live())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "to_next_s", lambda now_s: 0.05)
    monkeypatch.setattr(bus_module, "HELLO_RETRY_NS", 20_000_000)
    monkeypatch.setattr(membership, "SUPERVISOR_LOST_NS", 300_000_000)


def test_an_actor_says_who_it_is_and_beats_once_it_is_welcome(tmp_path: Path) -> None:
    async def main(b: Bench) -> None:
        await soon(lambda: b.count(Beat) >= 2)
        hello = b.heard[0]
        assert isinstance(hello, Hello)
        assert (hello.role, hello.boot_id) == (Role.TICKER, b.runtime.boot_id)
        assert hello.highest_epoch == 3
        beats = [message for message in b.heard if isinstance(message, Beat)]
        assert beats[0].values == 5
        assert beats[0].lag_ns >= 0
        assert b.welcomes == 1
        assert is_welcome(b)

    run(tmp_path, main)


def test_hello_is_repeated_until_it_is_answered(tmp_path: Path) -> None:
    async def main(b: Bench) -> None:
        b.is_answering = False
        await soon(lambda: b.count(Hello) >= 3)
        assert b.count(Beat) == 0
        assert not is_welcome(b)

    run(tmp_path, main)


def test_commands_are_passed_on_and_rubbish_is_counted(tmp_path: Path) -> None:
    async def main(b: Bench) -> None:
        await soon(lambda: is_welcome(b))
        b.supervisor.send([b.peer, b"\xc1rubbish"])
        b.tell(m.CloseLink(0, 7))
        await soon(lambda: b.received)
        assert b.received == [m.CloseLink(0, 7)]
        assert b.bus.bad_messages == 1

    run(tmp_path, main)


def test_a_welcome_that_is_repeated_is_no_new_one(tmp_path: Path) -> None:
    async def main(b: Bench) -> None:
        await soon(lambda: is_welcome(b))
        b.tell(Welcome(b.boot_id))
        b.tell(m.CloseLink(0, 7))
        await soon(lambda: b.received)
        assert b.welcomes == 1

    run(tmp_path, main)


def test_a_challenge_is_answered_with_hello_and_what_was_said_is_said_again(
    tmp_path: Path,
) -> None:
    async def main(b: Bench) -> None:
        await soon(lambda: is_welcome(b))
        before = b.count(Hello)
        b.tell(Challenge())
        await soon(lambda: b.count(Hello) > before and b.welcomes == 2)

    run(tmp_path, main)


def test_a_supervisor_that_is_not_heard_is_no_longer_relied_on(tmp_path: Path) -> None:
    async def main(b: Bench) -> None:
        await soon(lambda: is_welcome(b))
        b.is_answering = False
        await soon(lambda: not is_welcome(b))
        b.is_answering = True
        await soon(lambda: b.welcomes == 2)

    run(tmp_path, main)


def test_a_welcome_of_another_supervisor_is_a_new_one(tmp_path: Path) -> None:
    async def main(b: Bench) -> None:
        await soon(lambda: is_welcome(b))
        b.boot_id = "sup-2"
        b.tell(Welcome(b.boot_id))
        await soon(lambda: b.welcomes == 2)
        b.tell(Welcome(b.boot_id))
        b.tell(m.CloseLink(0, 7))
        await soon(lambda: b.received)
        assert b.welcomes == 2

    run(tmp_path, main)


def test_nothing_is_queued_for_an_absent_supervisor(tmp_path: Path) -> None:
    async def main(b: Bench) -> None:
        await soon(lambda: is_welcome(b))
        b.supervisor.close()
        await soon(lambda: not b.bus.send(m.LinkOpened(0, 1)))

    run(tmp_path, main)


def test_an_actor_told_to_leave_stops_and_asks_to_be_tried_later(tmp_path: Path) -> None:
    async def main(b: Bench) -> None:
        await soon(lambda: is_welcome(b))
        b.tell(Leave("another process holds the role"))
        await asyncio.wait_for(b.runtime.stopped.wait(), WITHIN_S)
        assert b.runtime.exit_code is Exit.TRY_LATER

    run(tmp_path, main)


def test_not_a_word_of_another_users_process_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if somebody else had bound the supervisor's address."""
    monkeypatch.setattr(Peer, "is_trusted", False)

    async def main(b: Bench) -> None:
        await soon(lambda: b.bus.bad_messages >= 2)
        assert b.count(Hello) >= 2
        assert not is_welcome(b)
        assert b.received == []

    run(tmp_path, main)
