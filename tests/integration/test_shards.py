"""Several sockets of one key, on real processes; and two daemons that want the same key."""

import shutil
from collections.abc import Iterator

import pytest

from kitefeed.protocol.topology import Role
from tests.faults.reader import Reader
from tests.integration.rig import INSTRUMENTS, Rig
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def sharded() -> Iterator[Rig]:
    with Rig(kite="instruments_per_socket = 2") as rig:
        rig.start()
        yield rig


def sockets_of(rig: Rig) -> list[tuple[str, int, int]]:
    return [(s["state"], s["instruments"], s["confirmed"]) for s in rig.status()["shards"]]


def test_five_instruments_are_spread_over_three_sockets_and_all_are_live(sharded: Rig) -> None:
    counts = [("live", 2, 2), ("live", 2, 2), ("live", 1, 1)]
    eventually(lambda: sockets_of(sharded) == counts, 10, every_s=0.2)
    with sharded.feed(*INSTRUMENTS) as feed:
        eventually(lambda: all(is_fresh(feed, key) for key in INSTRUMENTS), 10)
        shards = {(feed.get(key) or pytest.fail(key)).shard for key in INSTRUMENTS}
    assert shards == {0, 1, 2}
    shown = sharded.kitefeed("status").stdout
    assert "2 live         source websocket  1 instruments, 1 confirmed" in shown


def test_the_loss_of_one_socket_makes_only_its_instruments_stale_until_they_are_back(
    sharded: Rig,
) -> None:
    with sharded.feed(*INSTRUMENTS) as feed, Reader(sharded) as reader:
        eventually(lambda: all(is_fresh(feed, key) for key in INSTRUMENTS), 10)
        of_last = {key for key in INSTRUMENTS if feed.get(key).shard == 2}  # type: ignore[union-attr]
        epoch = sharded.status()["shards"][2]["epoch"]
        stale: set[str] = set()

        def look() -> bool:
            feed.next(0.001)
            stale.update(key for key in INSTRUMENTS if not is_fresh(feed, key))
            return bool(stale)

        sharded.simulator.fault("drop_one", "rst")
        eventually(look, 10, every_s=0)
        eventually(lambda: look() and all(is_fresh(feed, key) for key in INSTRUMENTS), 10)
    assert stale == of_last
    assert (reader.lies, reader.judged > 0) == ([], True)
    assert sharded.until("live", 10)["shards"][2]["epoch"] > epoch


def test_a_sixth_instrument_has_room_and_a_seventh_is_refused(sharded: Rig) -> None:
    assert sharded.kitefeed("subscribe", "NSE:TCS").returncode == 0
    assert [count for _, count, _ in sockets_of(sharded)] == [2, 2, 2]
    refused = sharded.kitefeed("subscribe", "NSE:HDFCBANK")
    assert refused.returncode == 65
    assert "over the limit of 6 instruments" in refused.stdout + refused.stderr
    assert sharded.kitefeed("unsubscribe", "NSE:HDFCBANK", "NSE:TCS").returncode == 0


def test_three_sockets_move_to_a_new_login_and_never_are_four(sharded: Rig) -> None:
    sharded.until("live", 10)
    before = {s["epoch"] for s in sharded.status()["shards"]}
    sharded.log_in(sharded.simulator.login())

    def has_moved() -> bool:
        shards = sharded.status()["shards"]
        epochs = {s["epoch"] for s in shards}
        return not epochs & before and {s["state"] for s in shards} == {"live"}

    eventually(has_moved, 20, every_s=0.2)
    assert "429" not in sharded.simulator.stats()["handshakes"]["total"]


def test_an_order_update_that_every_socket_brings_is_published_once(sharded: Rig) -> None:
    import zmq

    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    try:
        socket.subscribe(b"order/")
        socket.connect(f"ipc://{sharded.run_dir}/feed.sock")
        eventually(lambda: sharded.status()["subscribers"] >= 1, 5, every_s=0.2)
        for symbol in ("INFY", "TCS"):
            sharded.simulator.post("order", {"status": "COMPLETE", "tradingsymbol": symbol})
        assert socket.poll(5_000)
        assert b"INFY" in socket.recv()
        assert socket.poll(5_000)
        assert b"TCS" in socket.recv()
        assert not socket.poll(500)
    finally:
        socket.close(0)


def test_a_second_daemon_with_the_same_api_key_opens_no_socket_and_says_whose_it_is(
    sharded: Rig,
) -> None:
    sharded.until("live", 10)
    with Rig() as second, Reader(sharded) as reader:
        text = second.config.read_text()
        for url in ("rest", "ws"):
            text = text.replace(second.simulator.ready[url], sharded.simulator.ready[url])
        second.config.write_text(text)
        (second.root / "state").mkdir(mode=0o700)
        shutil.copy(sharded.root / "state" / "session.json", second.root / "state")
        before = sum(sharded.simulator.stats()["handshakes"]["total"].values())
        second.launch()
        pid = sharded.pid_of(Role.TICKER)
        eventually(lambda: f"process {pid}" in second.output(), 60, every_s=0.2)
        second.until("stale", 15)
        assert len(second.errors()) == 1
    assert sum(sharded.simulator.stats()["handshakes"]["total"].values()) == before
    assert (reader.lies, reader.judged > 0) == ([], True)


def is_fresh(feed: object, key: str) -> bool:
    tick = feed.get(key)  # type: ignore[attr-defined]
    return tick is not None and tick.is_fresh
