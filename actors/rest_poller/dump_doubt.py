"""Decides whether a new instrument list may replace the one in use. Pure.

Kite's list has come short, without an exchange, or without a name that somebody trades. Such a list
is not believed before it has been the same for long enough. Derivatives expire and companies are
renamed, so a little is lost every day.
"""

from collections.abc import Sequence

from kitefeed.protocol.kite.instruments import Loss
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m

BELIEVED_AFTER_NS = 1_800 * NS_PER_S  # the same list for so long is what Kite means
LARGE_PART = 0.1  # of a list: many times what ends or is renamed in a day
MOST_OF_A_PART = 0.5  # of one exchange or kind, which may have few instruments


def doubts(losses: Sequence[Loss], lacking: m.InstrumentsLacking) -> str:
    """Say why the list is not believed, one line; "" when it is."""
    found = []
    if lacking.count:
        more = f" and {lacking.count - len(lacking.keys)} more"
        named = ", ".join(lacking.keys) + (more if lacking.count > len(lacking.keys) else "")
        found.append(f"it lacks what is in use, or has another token for it: {named}")
    had, lost = sum(loss.had for loss in losses), sum(loss.lost for loss in losses)
    if lost > had * LARGE_PART:
        found.append(f"it lacks {lost:,} of the {had:,} instruments that should still be there")
    found += _parts(losses)
    return "; ".join(found)


def _parts(losses: Sequence[Loss]) -> list[str]:
    """Say what each exchange lost, and each kind (indices, futures) of the exchanges that
    remain."""
    found = []
    for exchange in dict.fromkeys(loss.exchange for loss in losses):
        own = [loss for loss in losses if loss.exchange == exchange]
        had, lost = sum(loss.had for loss in own), sum(loss.lost for loss in own)
        if lost > had * MOST_OF_A_PART:
            found.append(f"of {exchange} it lacks {_share(had, lost)}")
        else:
            found += [
                f"of {exchange} {loss.segment} it lacks {_share(loss.had, loss.lost)}"
                for loss in own
                if loss.lost > loss.had * MOST_OF_A_PART
            ]
    return found


def _share(had: int, lost: int) -> str:
    return f"all {had:,}" if lost == had else f"{lost:,} of {had:,}"
