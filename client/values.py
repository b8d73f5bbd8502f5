"""The last value of every instrument a reader knows. Pure.

They are kept as they came, encoded: a decoded tick is twenty objects, and freeing those of a tick
that was last touched thousands of ticks ago costs more than decoding the new one. A body out of a
chunk is a copy: as a part of it, the last tick of a quiet instrument would keep all 50 kB alive.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kitefeed._hot import IS_COMPILED
from kitefeed.client.tick import Arrival, Tick
from kitefeed.protocol.feed import decode_body
from kitefeed.protocol.tick_bodies import Encoded


@dataclass(slots=True, eq=False)
class PythonTopic:
    """The state of one topic. `seq`: the highest number met in this gen, 0 before the first.
    `arrival`, `value_seq`, `flags`, `body`: its last value as it came; no arrival before the first.
    No Struct: this is changed with every tick, in half the time."""

    key: str
    is_wanted: bool
    seq: int = 0
    arrival: Arrival | None = None
    value_seq: int = 0
    flags: int = 0
    body: Encoded = b""


if TYPE_CHECKING or not IS_COMPILED:
    Topic = PythonTopic
else:
    from kitefeed._hot.loops import Topic


class LastTicks(Mapping[str, Tick]):
    """The last ticks, by instrument. A new tick is made for each reading; bodies were checked when
    they came, so decoding one cannot fail."""

    def __init__(self) -> None:
        self._topics: dict[str, Topic] = {}

    def add(self, topic: Topic) -> None:
        """Take the values of this topic for those of its key from here on."""
        self._topics[topic.key] = topic

    def topics(self) -> Iterable[Topic]:
        """Return the topics of all that is read, also those without a value."""
        return self._topics.values()

    def is_last(self, tick: Tick) -> bool:
        """Whether nothing newer of its instrument has come."""
        known = self._topics.get(tick.instrument)
        return known is not None and known.arrival is tick.arrival and known.value_seq == tick.seq

    def numbers(self, gen: int) -> dict[str, int]:
        """Return by instrument the numbers of values that came in this gen; those from disk have
        none."""
        return {
            key: known.value_seq
            for key, known in self._topics.items()
            if known.arrival is not None and known.arrival.gen == gen and known.value_seq
        }

    def remove(self, key: str) -> None:
        """Forget the instrument, which is read no more."""
        self._topics.pop(key, None)

    def forget(self, key: str) -> None:
        """Forget the value, as if none had come yet."""
        if key in self._topics:
            self._topics[key].arrival = None

    def __getitem__(self, key: str) -> Tick:
        known = self._topics[key]
        if known.arrival is None:
            raise KeyError(key)
        return Tick(key, decode_body(known.body), known.value_seq, known.flags, known.arrival)

    def __contains__(self, key: object) -> bool:
        known = self._topics.get(key)  # type: ignore[call-overload]
        return known is not None and known.arrival is not None

    def __iter__(self) -> Iterator[str]:
        return (key for key, known in self._topics.items() if known.arrival is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)
