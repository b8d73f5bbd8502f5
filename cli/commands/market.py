"""`kitefeed market`: the sessions of a day, as the calendar has them."""

import json
from datetime import date, time
from typing import NamedTuple

import click

from kitefeed.actors.policy.calendar import SEGMENTS, Calendar, Plan, TradingSession
from kitefeed.actors.policy.market import Market, to_ist
from kitefeed.actors.runtime import calendar_file, config
from kitefeed.protocol import location
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import BadInput, ConfigError

UNCERTAIN = "uncertain"


class SegmentDay(NamedTuple):
    """One segment's day. `now`: its phase at this moment, None when the day is not today."""

    segment: str
    plan: Plan
    now: str | None


@click.command()
@click.argument("day", metavar="[DATE]", required=False)
@click.option("--json", "is_json", is_flag=True, help="One JSON object, for programs.")
def market(day: str | None, is_json: bool) -> None:
    """Show the sessions of today, or of DATE (2026-11-24), in IST.

    Data that flows overrules this calendar; "uncertain" marks what it has from one source only, and
    days of a year whose holidays it does not hold.
    """
    calendar = _calendar()
    now = to_ist(utc_ns())
    asked = _date(day) if day is not None else now.date()
    is_today = asked == now.date()
    rows = [
        SegmentDay(
            name, calendar.plan(name, asked), calendar.phase(name, now) if is_today else None
        )
        for name in SEGMENTS
    ]
    warning = _warning(calendar, asked)
    click.echo(_json(asked, rows, warning) if is_json else _text(asked, rows, warning))


def _calendar() -> Calendar:
    """Load the calendar of the configuration; without one, the shipped calendar."""
    try:
        own = config.load().calendar_path
    except ConfigError:
        if location.find_config() is not None:
            raise
        own = None
    return calendar_file.load(own)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text!r} is not a date: write it as 2026-11-24") from None


def _warning(calendar: Calendar, asked: date) -> str:
    if asked.year > calendar.last_year:
        return (
            f"the table of holidays ends with {calendar.last_year}: a weekday after it counts as a "
            "session, which may be wrong"
        )
    return Market("calendar", calendar).warning(utc_ns())


def _text(asked: date, rows: list[SegmentDay], warning: str) -> str:
    lines = [f"{asked:%A, %d %B %Y}, times in IST"]
    alike: dict[tuple[Plan, str | None], list[str]] = {}
    for row in rows:
        alike.setdefault((row.plan, row.now), []).append(row.segment)
    for (plan, now), names in alike.items():
        lines += _block(", ".join(names), plan, now)
    return "\n".join([*lines, warning] if warning else lines)


def _block(names: str, plan: Plan, now: str | None) -> list[str]:
    """Segments with the same day: a line for them, and one for each session."""
    facts = (f"now {_words(now)}" if now else "", plan.name, "" if plan.is_certain else UNCERTAIN)
    head = ", ".join(fact for fact in facts if fact)
    sessions = [_session(session) for session in plan.sessions] or ["closed all day"]
    return [f"{names}: {head}".removesuffix(": "), *(f"    {line}" for line in sessions)]


def _session(session: TradingSession) -> str:
    return ", ".join(
        f"{_words(phase.name)} {_clock(phase.start)}-{_clock(phase.end)}"
        for phase in session.phases
    )


def _words(phase: str) -> str:
    return phase.replace("_", " ")


def _json(asked: date, rows: list[SegmentDay], warning: str) -> str:
    segments = {
        row.segment: {
            "now": row.now,
            "name": row.plan.name,
            "is_certain": row.plan.is_certain,
            "sessions": [
                [[phase.name, _clock(phase.start), _clock(phase.end)] for phase in session.phases]
                for session in row.plan.sessions
            ],
        }
        for row in rows
    }
    return json.dumps({"date": asked.isoformat(), "segments": segments, "warning": warning})


def _clock(at: time) -> str:
    return f"{at:%H:%M}"
