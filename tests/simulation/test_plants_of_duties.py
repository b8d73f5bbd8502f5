"""As `test_plants.py`, of what the machines owe beside safety: in a file of its own, so that two
workers share the time."""

import pytest

from tests.simulation.days import simulate
from tests.simulation.life import Broken
from tests.simulation.planting import planted
from tests.simulation.plants_of_duties import PLANTS

SEEDS = range(1, 21)


@pytest.mark.parametrize("name", PLANTS)
def test_the_simulation_finds(name: str) -> None:
    with planted(PLANTS[name]):
        found = next(filter(None, map(simulate, SEEDS)), None)
    assert found is not None, f"{len(SEEDS)} days, and nobody noticed that {name}"
    assert isinstance(found.error, Broken), found
