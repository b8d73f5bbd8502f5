"""Disables in a forked child the feeds that it inherits: it has neither their connections nor
libzmq's threads, so that waiting there would never end."""

import os
import weakref
from typing import Any

from kitefeed.protocol.errors import BadInput

_READERS: "weakref.WeakSet[Any]" = weakref.WeakSet()


class _Left:
    """Stands for what a reader waits with, in a forked child: socket, lock and watch."""

    def close(self, _: object = None) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise BadInput(
            "this Feed was made before the fork and cannot be used in the child: make a new one "
            "there (or start the child by multiprocessing's `spawn`)"
        )


def note(reader: Any) -> None:
    """Call this for every reader that is made."""
    _READERS.add(reader)


def _leave_behind() -> None:
    """Replace the parts of each reader. Closing is no error: a `with` ends in the child, too, and
    the parent's feed goes on."""
    for reader in list(_READERS):
        reader._view.arrived.clear()
        left = _Left()
        vars(reader).update(_socket=left, _lock=left, _watch=left, _loop=None, close=lambda: None)
    _READERS.clear()


os.register_at_fork(after_in_child=_leave_behind)
