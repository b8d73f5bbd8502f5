"""All that one API key can stream, on real processes: 9,000 instruments over three sockets."""

import datetime as dt
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kitefeed import Feed
from kitefeed.protocol.errors import BadInput
from kitefeed.protocol.kite.units import IST
from kitefeed.simulator.listings import list_instruments
from tests.faults.probe import Probe
from tests.faults.reader import Reader
from tests.integration.rig import INSTRUMENTS, Rig
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

LISTED = 9_100
LISTINGS = [i.key for i in list_instruments(LISTED, dt.datetime.now(IST).date())]
ALL = tuple(dict.fromkeys([*INSTRUMENTS, *LISTINGS]))
MANY, TOO_MANY = ALL[:9_000], ALL[9_000:9_003]
WHOLE = [("live", 3_000, 3_000)] * 3
# So long Kite takes to let a new socket in, on a host of any speed. (After 5 s it is given up.)
AWAY_S = 2.5


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    options = ("--instruments", str(LISTED), "--tick-hz", "0.4")  # a simulator that keeps up
    with Rig(instruments=MANY, simulator_options=options) as made:
        made.log_in(made.simulator.ready)
        made.launch()
        yield made


def sockets_of(rig: Rig) -> list[tuple[str, int, int]]:
    shards: list[dict[str, Any]] = rig.status().get("shards", [])
    return [(shard["state"], shard["instruments"], shard["confirmed"]) for shard in shards]


def test_nine_thousand_instruments_are_confirmed_over_three_sockets(rig: Rig) -> None:
    eventually(lambda: [n for _, n, _ in sockets_of(rig)] == [3_000] * 3, 60, every_s=0.1)
    start_s = time.monotonic()  # the instrument list is there, the first socket is dialled
    eventually(lambda: sockets_of(rig) == WHOLE, 60, every_s=0.1)
    print(f"9,000 instruments confirmed {time.monotonic() - start_s:.1f} s after they were known")
    assert rig.until("live", 20)["subscriptions"]["confirmed"] == 9_000
    stats = rig.simulator.stats()
    assert stats["handshakes"]["total"] == {"101": 3}
    assert sum(stats["messages"].values()) == 2 * 3 * 6  # 500 in each, and their mode


def test_what_is_beyond_them_is_refused_by_name_and_costs_nothing(rig: Rig) -> None:
    before = rig.simulator.stats()["messages"]
    done = rig.kitefeed("subscribe", MANY[0], *TOO_MANY)
    assert done.returncode == 65
    refused = [
        line for line in (done.stdout + done.stderr).splitlines() if "over the limit" in line
    ]
    assert [key for key in TOO_MANY if not any(key in line for line in refused)] == []
    assert set(rig.status()["subscriptions"]["refused"]) == set(TOO_MANY)
    with pytest.raises(BadInput, match=r"over the limit of 9,000") as error:
        Feed(MANY[1], TOO_MANY[0], config=rig.config)
    assert MANY[1] not in str(error.value)
    assert rig.kitefeed("unsubscribe", *TOO_MANY).returncode == 0
    assert rig.status()["subscriptions"]["refused"] == {}
    assert rig.simulator.stats()["messages"] == before


def test_the_end_of_one_socket_costs_the_other_two_no_tick_and_it_comes_back(rig: Rig) -> None:
    with Probe(rig.run_dir) as probe, Reader(rig) as reader:
        eventually(lambda: len(probe.shard_pauses_s) == 3, 20)
        epochs = [shard["epoch"] for shard in rig.status()["shards"]]
        probe.forget_pauses()
        eventually(lambda: len(probe.shard_pauses_s) == 3, 20)  # each has ticked
        rig.simulator.fault("slow_ws", AWAY_S)
        rig.simulator.fault("drop_one", "rst")
        eventually(lambda: _has_replaced_the_last(rig, epochs), 20, every_s=0.1)
        rig.simulator.fault("clear")
        eventually(lambda: sockets_of(rig) == WHOLE, 30, every_s=0.1)
        ticks = probe.ticks
        eventually(lambda: probe.ticks > ticks + 9_000, 20)
    assert probe.violations == []
    assert set(probe.lost_batches.values()) == {0}
    assert (reader.lies, reader.judged > 0) == ([], True)
    first, second, last = (probe.shard_pauses_s[number] for number in range(3))
    assert last > AWAY_S
    assert max(first, second) < last
    assert [shard["epoch"] for shard in rig.status()["shards"]][:2] == epochs[:2]
    assert set(rig.simulator.stats()["handshakes"]["total"]) == {"101"}  # none was refused


def _has_replaced_the_last(rig: Rig, before: list[int]) -> bool:
    epochs = [shard["epoch"] for shard in rig.status()["shards"]]
    return epochs[:2] == before[:2] and epochs[2] > before[2]


def test_one_program_reads_all_nine_thousand(rig: Rig) -> None:
    before = rig.simulator.stats()["messages"]
    with Feed(*MANY, config=rig.config, timeout_s=20) as feed:
        eventually(lambda: len(feed.snapshot()) == len(MANY), 60)
        fresh: set[str] = set()

        def look() -> int:
            fresh.update(key for key, tick in feed.snapshot().items() if tick.is_fresh)
            return len(fresh)

        eventually(lambda: look() == len(MANY), 60)
    assert rig.simulator.stats()["messages"] == before
