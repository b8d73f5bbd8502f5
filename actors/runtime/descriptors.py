"""Watches how many descriptors are left: files, and a connection each. A process may have only so
many open, and libzmq aborts it when it takes a connection on an `ipc` address and none is left."""

import logging
import os
import resource

from kitefeed.protocol.errors import ConfigError

LIMIT_MIN = 200  # the broadcaster has 30 of its own, and KEPT_OF_PROGRAMS stay free
PLATFORM_MAX = 10_240  # macOS says "unlimited" and grants no more than this
# So many stay free when a connection is taken: for those on their way in (17 on each of two
# addresses), and for files and databases. The actors come before programs.
KEPT = 64
KEPT_OF_PROGRAMS = 96
OVER = 32  # so many more are free before there is room again: programs come and go one by one


def raise_limit(least: int = LIMIT_MIN) -> None:
    """Raise the soft limit to the hard one: it is 1,024 on most systems, for programs that use
    select(2). Raises ConfigError when the hard limit is below `least`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_below(hard, least):
        raise ConfigError(
            f"A process may open {hard} files here, and this one needs {least}: raise the hard "
            "limit (`ulimit -Hn`; LimitNOFILE= in a systemd unit; /etc/security/limits.conf)"
        )
    for limit in (hard, PLATFORM_MAX):
        try:
            if soft != limit and not _is_below(limit, soft):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        except (OSError, ValueError):
            continue
        return


def _is_below(limit: int, other: int) -> bool:
    if limit == resource.RLIM_INFINITY:
        return False
    return other == resource.RLIM_INFINITY or limit < other


class Room:
    """Knows whether there is room for more connections. A lack of room is a condition: one line
    when it begins, one when it is over."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._spare = os.open(os.devnull, os.O_RDONLY)
        self.is_full = False  # from the first that was not let in until `look` says otherwise

    def has(self, kept: int) -> bool:
        """Whether `kept` descriptors are free."""
        is_there = self._are_free(kept)
        if not is_there and not self.is_full:
            self.is_full = True
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self._log.error(
                "no room for more connections: fewer than %d of %d descriptors are left; those "
                "that stand are served, others wait: end programs, or raise the hard limit "
                "(`ulimit -Hn`) and start again condition=descriptors", kept, limit,
            )  # fmt: skip
        return is_there

    def look(self) -> None:
        """Call this once a second: it says when the shortage is over."""
        if self.is_full and self._are_free(KEPT_OF_PROGRAMS + OVER):
            self.is_full = False
            self._log.info("there is room for connections again condition=descriptors")

    def close(self) -> None:
        os.close(self._spare)

    def _are_free(self, count: int) -> bool:
        """Whether so many are free. It takes them for a moment: no other way works on every
        system."""
        taken: list[int] = []
        try:
            for _ in range(count):
                taken.append(os.dup(self._spare))
        except OSError:
            return False
        finally:
            for descriptor in taken:
                os.close(descriptor)
        return True
