"""The options on one underlying, by the day's instrument list."""

import difflib
from datetime import date
from typing import NamedTuple

from kitefeed.protocol.errors import BadInput, Unavailable
from kitefeed.protocol.instrument_list import ALIASES, InstrumentsDb, ListDamaged

# The exchanges that list options, the usual ones first; and the exchange of a name's cash market.
_EXCHANGES = ("NFO", "BFO", "MCX", "CDS", "BCD", "NCO")
_DERIVATIVES_OF = {"NSE": "NFO", "BSE": "BFO"}
_CASH_OF = {"NFO": "NSE", "BFO": "BSE"}
_NAMED_MAX = 5  # in an error


class Pair(NamedTuple):
    """The call and the put of one strike, by name; `lot_size` of the call."""

    call: str
    put: str
    lot_size: int


class Chain:
    """`underlying` as in `atm`; `today` in India. `expiries`: from today on, the nearest first.
    `listed_on`: the day of the list.

    Raises BadInput where there are no options, Unavailable without a list.
    """

    def __init__(self, db: InstrumentsDb, underlying: str, today: date) -> None:
        self._db = db
        self._today = today.isoformat()
        self.listed_on = self._list_day()
        self.name, self.exchange = self._found(underlying)
        rows = self._query("kind IN ('CE', 'PE')", "DISTINCT expiry")
        self.expiries = [date.fromisoformat(day) for (day,) in sorted(rows)]

    def expiry(self, wanted: date | str) -> date:
        """`nearest`, `weekly`, `monthly`, a date or an ISO date as one of `expiries`."""
        match wanted:
            case "nearest":
                return self.expiries[0]
            case "monthly":
                return self.monthly[0]
            case "weekly":
                weekly = [day for day in self.expiries if day not in self.monthly]
                if not weekly:
                    raise BadInput(f"{self.name} has no weekly options: expiry='monthly'")
                return weekly[0]
        day = _as_date(wanted)
        if day not in self.expiries:
            near = sorted(self.expiries, key=lambda each: abs(each - day))[:_NAMED_MAX]
            known = ", ".join(map(str, sorted(near)))
            raise BadInput(f"No options on {self.name} expire on {day}; the nearest are {known}")
        return day

    @property
    def monthly(self) -> list[date]:
        """List for each month the expiry that it shares with a future, or else the last one."""
        futures = {day for (day,) in self._query("kind = 'FUT'", "DISTINCT expiry")}
        by_month: dict[tuple[int, int], date] = {}
        for day in self.expiries:
            month = day.year, day.month
            before = by_month.get(month)
            if before is None or before.isoformat() not in futures:
                by_month[month] = day
        return list(by_month.values())

    def pairs(self, expiry: date) -> dict[float, Pair]:
        """List the pairs by strike, in rupees; only those of which there is a call and a put."""
        rows = self._query(
            "kind IN ('CE', 'PE') AND expiry = ?", "strike, kind, key, lot_size", expiry.isoformat()
        )
        calls = {strike: (key, lot) for strike, kind, key, lot in rows if kind == "CE"}
        puts = {strike: key for strike, kind, key, _ in rows if kind == "PE"}
        found = {
            strike: Pair(key, puts[strike], lot)
            for strike, (key, lot) in calls.items()
            if strike in puts
        }
        if not found:
            raise BadInput(f"No strike of {self.name} has a call and a put that expire on {expiry}")
        return found

    def priced_by(self, expiry: date, *, is_needed: bool = True) -> str:
        """The instrument whose price is that of the underlying: an index, a share, or the future
        that expires with the options, or next after them. "" where there is none."""
        cash = _CASH_OF.get(self.exchange)
        if cash is not None:
            alias = ALIASES.get(self.name, "")
            rows = self._ask(
                "SELECT key FROM instruments WHERE key = ? OR (exchange = ? AND kind = 'EQ' AND"
                " (symbol = ? OR (segment = 'INDICES' AND replace(symbol, ' ', '') = ?)))"
                " ORDER BY key <> ?, segment <> 'INDICES' LIMIT 1",
                alias, cash, self.name, self.name, alias,
            )  # fmt: skip
        if cash is None or not rows:
            rows = self._query(
                "kind = 'FUT' AND expiry >= ? ORDER BY expiry LIMIT 1", "key", expiry.isoformat()
            )
        if rows:
            return str(rows[0][0])
        if is_needed:
            raise BadInput(f"Nothing in the list has the price of {self.name}: give it, price=")
        return ""

    # --- the list -----------------------------------------------------------------------------

    def _list_day(self) -> date:
        rows = self._ask("SELECT day_ist FROM facts")
        if not rows:
            raise Unavailable(
                f"There is no instrument list at {self._db.path}: `kitefeed up` fetches it, on "
                "the host where the daemon runs; or name its configuration, config="
            )
        return date.fromisoformat(rows[0][0])

    def _found(self, underlying: str) -> tuple[str, str]:
        """The name that its options bear, and their exchange."""
        exchange, _, name = str(underlying).strip().upper().rpartition(":")
        exchange = _DERIVATIVES_OF.get(exchange, exchange)
        for candidate in _names(name):
            rows = self._ask(
                "SELECT DISTINCT exchange FROM instruments"
                " WHERE name = ? AND kind IN ('CE', 'PE') AND expiry >= ?",
                candidate, self._today,
            )  # fmt: skip
            listed = {where for (where,) in rows if exchange in ("", where)}
            for where in (*_EXCHANGES, *sorted(listed)):
                if where in listed:
                    return candidate, where
        known = self._ask(
            "SELECT DISTINCT name FROM instruments WHERE kind = 'CE' AND expiry >= ?", self._today
        )
        near = difflib.get_close_matches(name, [each for (each,) in known])
        hint = f"did you mean {' or '.join(near)}?" if near else "`kitefeed instruments find TEXT`"
        raise BadInput(
            f"There are no options on {underlying!r} in the list of {self.listed_on}: {hint}"
        )

    def _query(self, where: str, columns: str, *parameters: str) -> list[tuple]:  # type: ignore[type-arg]
        """Ask the list for derivatives on this underlying that have not expired."""
        sql = (
            f"SELECT {columns} FROM instruments"  # noqa: S608
            f" WHERE name = ? AND exchange = ? AND expiry >= ? AND {where}"
        )
        return self._ask(sql, self.name, self.exchange, self._today, *parameters)

    def _ask(self, sql: str, *parameters: str) -> list[tuple]:  # type: ignore[type-arg]
        try:
            return self._db.query(sql, parameters)
        except ListDamaged as error:
            raise Unavailable(f"{error}: `kitefeed instruments fetch` replaces it") from None


def _names(name: str) -> list[str]:
    """Return the names that options on it may have: NIFTY for `NIFTY 50`, BANKNIFTY for `BANK
    NIFTY`."""
    squeezed = name.replace(" ", "")
    symbols = {key.partition(":")[2].replace(" ", ""): alias for alias, key in ALIASES.items()}
    return list(dict.fromkeys((name, squeezed, symbols.get(squeezed, name))))


def _as_date(wanted: date | str) -> date:
    if isinstance(wanted, date):
        return wanted if type(wanted) is date else date(wanted.year, wanted.month, wanted.day)
    try:
        return date.fromisoformat(wanted)
    except (TypeError, ValueError):
        raise BadInput(
            f"expiry={wanted!r} is none of nearest, weekly, monthly, and no date such as 2026-12-29"
        ) from None
