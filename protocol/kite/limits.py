"""Kite's limits on what one API key may stream, whoever opens its sockets."""

SOCKETS_MAX = 3  # a fourth is refused with 429
PER_SOCKET_MAX = 3_000  # instruments
