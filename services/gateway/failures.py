"""Counts how often an address gave a wrong token lately. Pure."""

from ipaddress import IPv6Address, ip_address, ip_network

from kitefeed.protocol.kite.units import NS_PER_S

FAILURES_MAX = 10
WINDOW_NS = 60 * NS_PER_S
ADDRESSES_MAX = 1_024


class Failures:
    """The failures by address. Of IPv6 a whole /64 counts as one: a host has as many addresses as
    it likes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}  # address -> since when, how many

    def are_too_many(self, address: str, now_ns: int) -> bool:
        since_ns, count = self._known.get(_key(address), (now_ns, 0))
        return count >= FAILURES_MAX and now_ns - since_ns < WINDOW_NS

    def note(self, address: str, now_ns: int) -> int:
        """Count one more; return how many there are in this window."""
        key = _key(address)
        since_ns, count = self._known.pop(key, (now_ns, 0))
        if now_ns - since_ns >= WINDOW_NS:
            since_ns, count = now_ns, 0
        if len(self._known) >= ADDRESSES_MAX:
            del self._known[next(iter(self._known))]  # the one that failed longest ago
        self._known[key] = (since_ns, count + 1)
        return count + 1


def _key(address: str) -> str:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(found, IPv6Address):
        return str(found)
    mapped = found.ipv4_mapped
    return str(mapped or ip_network((int(found), 64), strict=False))
