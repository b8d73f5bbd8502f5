"""The options that change the frames, in place of what each part would send."""

from typing import NamedTuple

from benchmarks.frames import FRAMES_MAX, UNPACED, Scheme, Shape


class Asked(NamedTuple):
    """None: as the part has it. `rate` in ticks per second, `frame` in packets, `burst` in frames
    that are due at once, `seconds` of one run, `scheme` of Kite's
    socket (part e2e)."""

    rate: int | None = None
    frame: int | None = None
    mix: str | None = None
    burst: int | None = None
    seconds: float | None = None
    scheme: Scheme = "ws"

    @property
    def is_any(self) -> bool:
        return self != Asked()

    def of(self, shape: Shape) -> Shape:
        """This shape with what was asked for, and as long as it was if no length was."""
        packets = self.frame or shape.packets
        per_s = self.rate or shape.per_s
        frames = shape.ticks / packets
        if per_s != UNPACED:
            seconds = self.seconds or shape.ticks / shape.per_s
            frames = per_s * seconds / packets
        count = min(FRAMES_MAX, max(2, round(frames)))
        return Shape(self.mix or shape.mix, packets, count, per_s, self.burst or shape.burst)
