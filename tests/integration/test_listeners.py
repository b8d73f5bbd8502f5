"""Tests that Kite is asked for what programs subscribe to: thousands of instruments, modes,
churn."""

import datetime as dt
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from kitefeed import Feed
from kitefeed.protocol import sockets
from kitefeed.protocol.feed import split_frame
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.topics import NUL, mode_request, tick_topic
from kitefeed.protocol.topology import FEED, Role, endpoint
from kitefeed.simulator.listings import list_instruments
from tests.integration.rig import INSTRUMENTS, Rig
from tests.support import eventually

pytestmark = pytest.mark.processes

LISTED = 3_100
LISTINGS = {i.key: i.token for i in list_instruments(LISTED, dt.datetime.now(IST).date())}
# The configured ones are among the 3,000 that one socket takes.
MANY = tuple(dict.fromkeys([*INSTRUMENTS, *LISTINGS]))[:3_000]
TCS = "NSE:TCS"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(settings='mode = "quote"', simulator_options=("--instruments", str(LISTED))) as made:
        made.start()
        yield made


def counts(rig: Rig) -> tuple[int, int, int]:
    found = rig.status()["subscriptions"]
    return found["wanted"], found["asked"], found["confirmed"]


def messages(rig: Rig) -> dict[str, int]:
    found: dict[str, int] = rig.simulator.stats()["messages"]
    return found


def mode_of(rig: Rig, key: str) -> str:
    packets: dict[str, Any] = rig.simulator.stats()["last_packets"]
    return str(packets.get(str(LISTINGS[key]), {}).get("mode"))


def reader(rig: Rig) -> "zmq.Socket[bytes]":
    return sockets.connect_feed(endpoint(rig.run_dir, FEED))


def plain(rig: Rig, *, is_connected_first: bool) -> "zmq.Socket[bytes]":
    """A subscriber as any language has it, with what the page on the wire says."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 10_000)
    socket.setsockopt(zmq.LINGER, 0)
    address = endpoint(rig.run_dir, FEED)
    if is_connected_first:
        socket.connect(address)
    for key in MANY:
        socket.setsockopt(zmq.SUBSCRIBE, tick_topic(key) + NUL)
    if not is_connected_first:
        socket.connect(address)
    return socket


def topics_read(socket: "zmq.Socket[bytes]", seen: set[bytes]) -> set[bytes]:
    while socket.poll(0):
        seen.add(split_frame(socket.recv())[0])
    return seen


def test_the_latest_of_an_instrument_is_asked_of_kite_as_its_ticks_are(rig: Rig) -> None:
    sbin = "NSE:SBIN"
    other = next(key for key in LISTINGS if key not in INSTRUMENTS and key != TCS)
    with Feed(other, sbin, config=rig.config, mode="full", per_second=2) as feed:
        eventually(lambda: mode_of(rig, other) == "full", 10)
        eventually(lambda: set(feed.snapshot()) == {other, sbin}, 10)
        eventually(lambda: feed[other].mode == feed[sbin].mode == "full", 10)


def test_a_mode_that_a_program_asks_for_is_streamed_and_told(rig: Rig) -> None:
    with Feed(TCS, config=rig.config) as usual:
        eventually(lambda: mode_of(rig, TCS) == "quote", 10)
        tick = usual.wait_for(TCS, 5)
        assert tick is not None
        assert tick.mode == "quote"
        with Feed(TCS, config=rig.config, mode="full") as deep:
            eventually(lambda: mode_of(rig, TCS) == "full", 10)
            eventually(lambda: deep[TCS].mode == "full" and deep[TCS].depth, 5)
            assert [answer.outcome for answer in deep.answers] != ["refused"]
        with Feed(TCS, config=rig.config, mode="ltp") as thin:
            assert "it streams in full, not ltp, because a program" in thin.answers[0].detail


def test_the_operator_is_told_why_a_lower_mode_has_no_effect(rig: Rig) -> None:
    done = rig.kitefeed("subscribe", "--mode", "ltp", INSTRUMENTS[2])
    assert done.returncode == 0, done.stderr
    assert "it streams in quote, not ltp, because the configuration file" in done.stdout
    assert rig.kitefeed("unsubscribe", INSTRUMENTS[2]).returncode == 0


def test_a_pattern_reads_what_streams_and_asks_for_nothing(rig: Rig) -> None:
    before = messages(rig)
    with Feed("NSE:*", config=rig.config) as feed:
        eventually(lambda: {"NSE:INFY", "NSE:SBIN"} <= feed.snapshot().keys(), 5)
        assert all(key.startswith("NSE:") for key in feed.snapshot())
    shown = rig.kitefeed("tail", "--count", "1", "BSE:*")
    assert shown.stdout.count("BSE:SENSEX") == 1
    assert "BSE:*: shows what streams already and asks for nothing; 1 have" in shown.stderr
    refused = rig.kitefeed("subscribe", "BSE:*")
    assert refused.returncode == 65
    assert "name each instrument" in refused.stderr
    assert messages(rig) == before


def test_a_name_that_nobody_knows_is_told_while_it_is_read(rig: Rig) -> None:
    socket = reader(rig)
    socket.setsockopt(zmq.SUBSCRIBE, tick_topic("NSE:INFFY") + NUL)
    found = eventually(lambda: rig.status()["subscriptions"]["refused"], 5)
    assert "not in today's instrument list" in found["NSE:INFFY"]
    socket.close(0)
    eventually(lambda: rig.status()["subscriptions"]["refused"] == {}, 5)


def test_programs_that_come_and_go_cost_no_messages_to_kite(rig: Rig) -> None:
    """One after the other, each with the same forty instruments in a mode of its own."""
    topics = [tick_topic(key) for key in MANY[5:45]]
    first = reader(rig)
    for topic in topics:
        first.setsockopt(zmq.SUBSCRIBE, topic + NUL)
        first.setsockopt(zmq.SUBSCRIBE, mode_request("full", topic))
    eventually(lambda: mode_of(rig, MANY[44]) == "full", 10)
    first.close(0)
    before = messages(rig)
    for _ in range(300):
        socket = reader(rig)
        for topic in topics:
            socket.setsockopt(zmq.SUBSCRIBE, topic + NUL)
            socket.setsockopt(zmq.SUBSCRIBE, mode_request("full", topic))
        assert socket.poll(5_000)  # it was heard: the daemon answered with a last value
        socket.close(0)
    wanted, asked, _ = counts(rig)
    assert asked == wanted
    assert messages(rig) == before


@pytest.mark.parametrize("is_connected_first", [False, True])
def test_one_plain_reader_has_three_thousand_instruments(
    rig: Rig, is_connected_first: bool
) -> None:
    socket = plain(rig, is_connected_first=is_connected_first)
    seen: set[bytes] = set()
    try:
        eventually(lambda: len(topics_read(socket, seen)) == len(MANY), 30)
        eventually(lambda: counts(rig) == (3_000, 3_000, 3_000), 30, every_s=0.5)
    finally:
        socket.close(0)


def test_one_feed_has_three_thousand_instruments(rig: Rig) -> None:
    before = messages(rig)
    with Feed(*MANY, config=rig.config, timeout_s=20) as feed:
        eventually(lambda: len(feed.snapshot()) == len(MANY), 30)
        assert not [a for a in feed.answers if a.outcome == "refused"]
        eventually(lambda: counts(rig) == (3_000, 3_000, 3_000), 30, every_s=0.5)
    assert sum(messages(rig).values()) - sum(before.values()) < 30


def test_a_restarted_supervisor_asks_kite_for_nothing_and_knows_what_is_confirmed(
    rig: Rig,
) -> None:
    with Feed(TCS, MANY[100], config=rig.config) as feed:
        eventually(lambda: TCS in feed and MANY[100] in feed, 10)
        eventually(lambda: len(set(counts(rig))) == 1, 10)
        for _ in range(3):
            before, pid = messages(rig), rig.pid_of(Role.SUPERVISOR)
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: rig.pid_of(Role.SUPERVISOR) not in (0, pid), 10)
            wanted = eventually(lambda: (c := counts(rig))[0] == c[1] == c[2] > 5 and c, 10)
            assert wanted[0] >= len(INSTRUMENTS) + 2
            assert messages(rig).get("subscribe") == before.get("subscribe"), rig.output()[-4_000:]
            eventually(lambda: feed[TCS].is_fresh, 5)
