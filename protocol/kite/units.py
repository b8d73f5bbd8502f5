"""India's time zone, in which Kite tells every time, and the unit of our own times."""

from datetime import timedelta, timezone

NS_PER_S = 1_000_000_000
# India has no daylight saving; zoneinfo would need a database that bare hosts lack.
IST = timezone(timedelta(hours=5, minutes=30), "IST")
