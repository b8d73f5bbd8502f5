"""Writes the answer of `/metrics`, in the text format of Prometheus. Pure.

Times are given as when something last happened, not as an age: an age would stand still with the
exporter. No label names an instrument: there may be nine thousand.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from kitefeed import __version__
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.topology import Role
from kitefeed.services.gateway.health import FEEDS, Health

FRESH = "When the feed last was healthy: fresh values wherever the market was open."
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# Name of the metric, its help, and the actor whose counter it is.
_COUNTERS: tuple[tuple[str, str, Role, str], ...] = (
    ("kitefeed_logins", "New sessions seen.", Role.SUPERVISOR, "logins"),
    (
        "kitefeed_sockets_opened",
        "Sockets to Kite that were opened.",
        Role.SUPERVISOR,
        "sockets_opened",
    ),
    (
        "kitefeed_sockets_refused",
        "Handshakes that Kite refused, such as with 403.",
        Role.SUPERVISOR,
        "sockets_refused",
    ),
    (
        "kitefeed_sockets_closed",
        "Sockets that ended, for whatever reason.",
        Role.SUPERVISOR,
        "sockets_closed",
    ),
    ("kitefeed_polls", "Answers and failures of polling.", Role.SUPERVISOR, "polls"),
    ("kitefeed_frames", "Binary frames received from Kite.", Role.TICKER, "frames"),
    ("kitefeed_ticks", "Ticks received by socket.", Role.TICKER, "packets"),
    ("kitefeed_bad_frames", "Frames from Kite that could not be read.", Role.TICKER, "bad_frames"),
    (
        "kitefeed_rest_requests",
        "Requests to Kite's REST API by the poller.",
        Role.REST_POLLER,
        "requests",
    ),
    ("kitefeed_rest_failures", "Those that were not answered.", Role.REST_POLLER, "failures"),
    (
        "kitefeed_published",
        "Messages that programs were sent.",
        Role.BROADCASTER,
        "published",
    ),
    (
        "kitefeed_fenced",
        "Batches of a source that was no longer believed.",
        Role.BROADCASTER,
        "fenced",
    ),
    (
        "kitefeed_lost_batches",
        "Batches that never reached the broadcaster.",
        Role.BROADCASTER,
        "lost_batches",
    ),
    (
        "kitefeed_full_queues",
        "How often the queue to some program was full.",
        Role.BROADCASTER,
        "full_queues",
    ),
    (
        "kitefeed_odd_quote_fields",
        "Fields that were left out of quotes, whose prices were passed on.",
        Role.REST_POLLER,
        "odd_fields",
    ),
)


class _Collector:
    """Families made for one scrape."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def exposition(
    health: Health, report: StatusReport | None, streams: int, utc_s: float, fresh_utc_s: float
) -> bytes:
    """Write the metrics. `report`: None when the supervisor does not answer; what it knows is then
    left out. utc_s: now; fresh_utc_s: when all that should be fresh last was, 0 for never."""
    registry = CollectorRegistry()
    families = list(_families(health, report, streams, utc_s))
    if fresh_utc_s:
        families.append(_gauge("kitefeed_last_fresh_timestamp_seconds", FRESH, fresh_utc_s))
    registry.register(_Collector(families))
    return generate_latest(registry)


def _families(
    health: Health, report: StatusReport | None, streams: int, utc_s: float
) -> Iterator[Metric]:
    yield InfoMetricFamily("kitefeed", "The version that runs.", {"version": __version__})
    yield _gauge("kitefeed_healthy", "1 while data arrives wherever it should.", health.is_healthy)
    feed = GaugeMetricFamily("kitefeed_feed", "1 for the headline that holds.", labels=["feed"])
    for word in FEEDS:
        feed.add_metric([word], float(word == health.feed))
    yield feed
    yield _gauge("kitefeed_gateway_streams", "Browsers and phones that read a stream.", streams)
    yield _gauge("kitefeed_refusals_in_a_row", "403s in a row, of sockets.", health.consecutive_403)
    if report is not None:
        if report.last_tick_age_s is not None:
            at_s = utc_s - report.last_tick_age_s
            yield _gauge("kitefeed_last_tick_timestamp_seconds", "When a tick last came.", at_s)
        yield from _of_report(report)


def _of_report(report: StatusReport) -> Iterator[Metric]:
    counters = {actor.role: actor.counters for actor in report.actors}
    for name, words, role, key in _COUNTERS:
        if (value := counters.get(role, {}).get(key)) is not None:
            yield CounterMetricFamily(name, words, value)
    up = GaugeMetricFamily("kitefeed_actor_up", "1 while the actor is heard.", labels=["actor"])
    for actor in report.actors:
        up.add_metric([actor.role], float(actor.state == "up"))
    yield up
    yield from _of_readers(report)
    counts = report.subscriptions
    instruments = GaugeMetricFamily(
        "kitefeed_instruments", "Wanted, asked of Kite, confirmed, refused.", labels=["state"]
    )
    instruments.add_metric(["wanted"], counts.wanted)
    instruments.add_metric(["asked"], counts.asked)
    instruments.add_metric(["confirmed"], counts.confirmed)
    instruments.add_metric(["refused"], len(counts.refused))
    yield instruments
    outage = report.last_outage
    if outage is not None and outage.restored_utc_s is not None:
        lasted_s = outage.restored_utc_s - outage.detected_utc_s
        yield _gauge("kitefeed_last_outage_seconds", "How long the last outage was.", lasted_s)
        if outage.login_utc_s is not None:
            took_s = outage.restored_utc_s - outage.login_utc_s
            yield _gauge("kitefeed_last_recovery_seconds", "From the login to live prices.", took_s)


def _of_readers(report: StatusReport) -> Iterator[Metric]:
    readers = report.readers
    yield _gauge("kitefeed_readers", "Programs that read.", report.subscribers)
    lost = GaugeMetricFamily(
        "kitefeed_readers_lost",
        "Ticks that programs which read now missed: on the way, given up for newer, no room.",
        labels=["how"],
    )
    lost.add_metric(["gaps"], sum(reader.gaps for reader in readers))
    lost.add_metric(["skipped"], sum(reader.skipped for reader in readers))
    lost.add_metric(["overrun"], sum(reader.overrun for reader in readers))
    yield lost


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, float(value))
