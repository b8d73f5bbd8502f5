"""Notes ticks that were lost before they reached the daemon: their source ended, or batches of it
were lost. Pure. Heartbeats tell of such a break; it is healed when every instrument that had a
value has a later one."""

from collections.abc import Mapping

from kitefeed.client.gaps import Gaps
from kitefeed.client.values import LastTicks, Topic
from kitefeed.protocol.feed import Flag, ShardHealth, Source

_UNGRANTED = int(Flag.CACHED | Flag.STALE)


class Breaks:
    """Notes the breaks in `gaps`, for the instruments in `values`."""

    def __init__(self, values: LastTicks, gaps: Gaps) -> None:
        self._values = values
        self._gaps = gaps
        # Instruments that wait for a new value: its least epoch, and the UTC ns it must come after.
        self._awaited: dict[str, tuple[int, int]] = {}

    def heard(
        self,
        before: Mapping[int, ShardHealth],
        now: Mapping[int, ShardHealth],
        before_utc_ns: int,
        utc_ns: int,
    ) -> None:
        """Compare two heartbeats that follow each other, sent at these times."""
        for shard, health in now.items():
            was = before.get(shard)
            if was is None or was.source == Source.NONE == health.source:
                continue
            if (was.source, was.epoch) != (health.source, health.epoch):
                since_ns = before_utc_ns - max(0, was.frame_age_ns)
                is_over = health.source != Source.NONE
                self._broke(shard, health.epoch if is_over else was.epoch + 1, 0, since_ns, utc_ns)
            elif 0 <= health.loss_age_ns < utc_ns - before_utc_ns:
                lost_ns = utc_ns - health.loss_age_ns
                self._broke(shard, health.epoch, lost_ns, before_utc_ns, lost_ns)
        if self._awaited:
            self._look()

    def _broke(self, shard: int, epoch: int, after_ns: int, start_ns: int, end_ns: int) -> None:
        names = [
            topic.key
            for topic in self._values.topics()
            if topic.arrival is not None
            and topic.arrival.shard == shard
            and not topic.flags & _UNGRANTED  # it was not streamed before either
        ]
        if names:
            self._gaps.missed("upstream", dict.fromkeys(names, 0), start_ns, end_ns)
            self._awaited.update(dict.fromkeys(names, (epoch, after_ns)))

    def _look(self) -> None:
        for topic in self._values.topics():
            if topic.key in self._awaited and _has_come(topic, *self._awaited[topic.key]):
                del self._awaited[topic.key]
        known = {topic.key for topic in self._values.topics()}  # but for what is read no more
        self._awaited = {key: self._awaited[key] for key in self._awaited.keys() & known}
        if not self._awaited:
            self._gaps.heal("upstream")


def _has_come(topic: Topic, epoch: int, after_ns: int) -> bool:
    arrival = topic.arrival
    return arrival is not None and arrival.epoch >= epoch and arrival.t_rx_ns > after_ns
