"""The streams that keep the feed: made where there are none, adopted where somebody made them."""

from nats.js import JetStreamContext
from nats.js.api import (
    DiscardPolicy,
    KeyValueConfig,
    RePublish,
    StorageType,
    StoreCompression,
    StreamConfig,
)
from nats.js.errors import NotFoundError
from nats.js.kv import KeyValue

from kitefeed.protocol.nats import Subjects

DAY_S = 86_400
DEDUPLICATED_S = 120  # a bridge that was started again compares with LAST besides
MB = 1_048_576


def last_config(subjects: Subjects) -> StreamConfig:
    """Keep one message for each subject, in memory. LAST hands on to TICKS what it has taken, so
    that a full disk never keeps a last value from anybody."""
    return StreamConfig(
        name=subjects.last_stream,
        description="kitefeed: the last value of every instrument",
        subjects=[f"{subjects.ticks}.>", subjects.state],
        max_msgs_per_subject=1,
        storage=StorageType.MEMORY,
        discard=DiscardPolicy.OLD,
        duplicate_window=DEDUPLICATED_S,
        allow_direct=True,
        republish=RePublish(src=f"{subjects.prefix}.>", dest=f"{subjects.log}.>"),
    )


def ticks_config(subjects: Subjects, history_mb: int) -> StreamConfig:
    """Keep what was published in the last day, in its order, as long as there is room."""
    return StreamConfig(
        name=subjects.ticks_stream,
        description="kitefeed: the ticks of a day, and the gaps in them",
        subjects=[f"{subjects.log}.>", subjects.gap],
        storage=StorageType.FILE,
        max_age=DAY_S,
        max_bytes=history_mb * MB,
        discard=DiscardPolicy.OLD,
        duplicate_window=DEDUPLICATED_S,
        compression=StoreCompression.S2,
        allow_direct=True,
    )


async def make(js: JetStreamContext, wanted: StreamConfig) -> list[str]:
    """Make the stream if it is missing, and leave one that is there as it is. Return a sentence for
    each way in which that one does less than ours would. Raises APIError when there can be none."""
    try:
        found = (await js.stream_info(str(wanted.name))).config
    except NotFoundError:
        await js.add_stream(wanted)
        return []
    return _differences(found, wanted)


def _differences(found: StreamConfig, wanted: StreamConfig) -> list[str]:
    """Say why a stream that somebody else made does not do what ours does."""
    notes = []
    missing = [each for each in wanted.subjects or [] if each not in (found.subjects or [])]
    if missing:
        notes.append(f"it takes no {', '.join(missing)}")
    if wanted.republish and not found.republish:
        notes.append("it republishes nothing, so that there is no history")
    if not found.allow_direct:
        notes.append("it allows no direct get, so that nobody can read it")
    return [f"stream {wanted.name} is not as kitefeed makes it: {note}" for note in notes]


async def lease_of(js: JetStreamContext, subjects: Subjects) -> KeyValue:
    """Return the bucket of the lease; make it where there is none."""
    try:
        return await js.key_value(subjects.lease_bucket)
    except NotFoundError:
        config = KeyValueConfig(
            bucket=subjects.lease_bucket,
            description="kitefeed: which bridge publishes",
            storage=StorageType.FILE,
            direct=True,
        )
        return await js.create_key_value(config)
