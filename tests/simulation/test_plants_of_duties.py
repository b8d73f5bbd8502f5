"""As `test_plants.py`, of what the machines owe beside safety: in a file of its own, so that two
workers share the time."""

import pytest

from tests.simulation.days import simulate
from tests.simulation.life import Broken
from tests.simulation.planting import planted
from tests.simulation.plants_of_duties import PLANTS

SEEDS = range(1, 31)
# As in `test_plants.py`.
TRIED_FIRST = {
    "a bad login costs the socket that streams": 2,
    "a lost socket is tried again after 8 s": 2,
    "an order that ended goes on": 3,
    "a grant of before is taken": 3,
    "a refused session stays good on disk": 3,
    "a refusal is not classified": 3,
    "a handshake ends a series of refusals": 3,
    "a live session is not asked about": 3,
    "nobody says before the open whether all is ready": 4,
    "nothing is asked at fixed times": 4,
    "a source that says nothing is alive": 4,
    "a silent canary holds nothing": 4,
    "what is held is read as fresh": 4,
    "REST bridges after five minutes": 5,
    "two refusals are enough to poll": 5,
    "what is asked again is news": 5,
    "values are kept for an hour": 6,
    "numbers are not counted": 6,
    "a refused socket is tried again after ten minutes": 6,
    "a stream without news is doubted after a minute": 7,
    "a process that hangs is left alone for a minute": 7,
    "a damaged session file is told after a minute": 7,
    "what was polled once is fresh for ever": 8,
    "a login that nobody judged waits ten minutes": 8,
    "a plan without data is told as stale": 8,
    "a live session is asked about every 20 s": 9,
    "what reads stale is told as live": 9,
    "a 429 is waited out for ten minutes": 9,
    "a poll without values is alive": 10,
    "a socket is given up because one alone is silent": 10,
    "a poll that failed is tried again after a minute": 10,
    "a settlement price costs one socket after another": 10,
    "the standby polls before the first is refused": 11,
    "yesterday's validation is good today": 12,
    "an index that never ticks is a canary for ever": 14,
    "the ticker is not told what a quote says": 14,
    "a socket without frames is alive": 14,
    "one tick opens the market for an hour": 15,
    "a trade of ten minutes ago is news": 15,
    "what was lost on the way to Kite is never asked again": 16,
    "a packet of any mode confirms": 16,
    "what the operator says is not written down": 16,
    "a pause is told as stale": 16,
    "a silent canary makes all of its socket stale": 21,
    "a book that was not had is given up": 25,
    "the standby never polls": 29,
}


@pytest.mark.parametrize("name", PLANTS)
def test_the_simulation_finds(name: str) -> None:
    seeds = sorted(SEEDS, key=lambda seed: (seed != TRIED_FIRST.get(name, 1), seed))
    with planted(PLANTS[name]):
        found = next(filter(None, map(simulate, seeds)), None)
    assert found is not None, f"{len(SEEDS)} days, and nobody noticed that {name}"
    assert isinstance(found.error, Broken), found


def test_no_day_is_named_for_a_plant_that_is_not() -> None:
    assert not TRIED_FIRST.keys() - PLANTS.keys()
