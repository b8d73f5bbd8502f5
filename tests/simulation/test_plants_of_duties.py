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
    "an order that ended goes on": 3,
    "nobody says before the open whether all is ready": 4,
    "nothing is asked at fixed times": 4,
    "a source that says nothing is alive": 4,
    "a book that was not had is given up": 5,
    "REST bridges after five minutes": 5,
    "two refusals are enough to poll": 5,
    "values are kept for an hour": 6,
    "numbers are not counted": 6,
    "a refused socket is tried again after ten minutes": 6,
    "a stream without news is doubted after a minute": 7,
    "a silent canary holds nothing": 8,
    "what is held is read as fresh": 8,
    "what was polled once is fresh for ever": 8,
    "a poll without values is alive": 8,
    "a login that nobody judged waits ten minutes": 8,
    "a socket is given up because one alone is silent": 10,
    "a poll that failed is tried again after a minute": 10,
    "yesterday's validation is good today": 12,
    "an index that never ticks is a canary for ever": 14,
    "a socket without frames is alive": 14,
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
