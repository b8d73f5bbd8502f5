"""The daemon: its processes, its list, others like it, and how long a price takes to a program."""

from datetime import date

from kitefeed.actors.policy.market import to_ist
from kitefeed.actors.runtime import locks
from kitefeed.actors.runtime.config import Settings
from kitefeed.cli import running
from kitefeed.cli.diagnosis.finding import Finding, of_error, ok, skipped, warning, wrong
from kitefeed.client.feed import Feed
from kitefeed.protocol import location
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.errors import KitefeedError
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.instrument_list import InstrumentsDb
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.topology import Role
from kitefeed.services.notifier.record import record_of
from kitefeed.services.table import alerted

READ_S = 3.0  # an index ticks about once a second
LAG_WARN_MS = 250.0
LIST_DAYS_WARN = 4  # a long weekend


def processes(report: StatusReport | None) -> Finding:
    if report is None:
        return wrong("processes", "no daemon runs", "`kitefeed up`", Exit.UNAVAILABLE)
    down = [f"{actor.role} {actor.state}" for actor in report.actors if actor.state != "up"]
    if down:
        return wrong("processes", ", ".join(down), "look at the daemon's log: it starts them again")
    return ok("processes", f"all {len(report.actors)} run, version {report.version}")


def services() -> Finding:
    """Look at the programs beside the six that the configuration switches on."""
    name = "services"
    known = [(each, word) for each, word, _ in running.services() if word != "off"]
    down = [each for each, word in known if word == "down"]
    if down:
        return wrong(name, f"down: {', '.join(down)}",
                     "the daemon's log says why, in its last lines of each")  # fmt: skip
    return ok(name, f"{', '.join(each for each, _ in known) or 'none'}: as configured")


def headline(report: StatusReport) -> Finding:
    text = f"{report.feed}, source {report.source}" + (f": {report.reason}" * bool(report.reason))
    if report.feed in ("live", "closed"):
        return ok("feed", text)
    return warning("feed", text, "`kitefeed status` says more, and what is tried next")


def instrument_list(settings: Settings) -> Finding:
    name = "list"
    facts = InstrumentsDb(settings.instruments_path).facts()
    if facts is None:
        return warning(name, "there is no instrument list yet",
                       "the daemon fetches it once Kite answers")  # fmt: skip
    text = f"{facts.rows:,} instruments, of {facts.day_ist}"
    days = (to_ist(utc_ns()).date() - date.fromisoformat(facts.day_ist)).days
    if days > LIST_DAYS_WARN:
        return warning(name, text, "it is fetched once a day while the daemon runs: is it running?")
    return ok(name, text)


def alerts(settings: Settings) -> Finding:
    """Look whether the last alert reached the people who are to be told of trouble."""
    name = "alerts"
    if not alerted(settings.config.alerts):
        return skipped(name, "nobody is told of trouble: [alerts] names nobody")
    try:
        record = record_of(settings)
    except (OSError, ValueError):
        return warning(name, "nobody was told of anything yet", "`kitefeed alerts test`")
    failing = [f"{to}: {state.problem}" for to, state in record.targets.items() if state.problem]
    if failing:
        return wrong(name, "; ".join(failing), "`kitefeed alerts test` once it is corrected",
                     Exit.UNAVAILABLE)  # fmt: skip
    told = sum(state.delivered for state in record.targets.values())
    return ok(name, f"the last ones arrived, {told} since the notifier was started")


def duplicates(settings: Settings) -> Finding:
    """Look for other daemons of this user that hold the API key: together they would want too many
    sockets of Kite."""
    name = "duplicates"
    own = locks.live_holder(settings.runtime_dir, Role.TICKER)
    directory = location.key_locks_dir(settings.source)
    kite = settings.config.kite
    holder = locks.key_holder(directory, kite.api_key, kite.ws_url)
    if holder is None or (own is not None and holder.pid == own.pid):
        return ok(name, "no other daemon of yours uses this key")
    return wrong(name, f"process {holder.pid} of another daemon uses this API key",
                 "end it: `kitefeed down` with its configuration")  # fmt: skip


def lag(report: StatusReport) -> Finding:
    """Measure the time from the daemon's receipt of a tick until this program has it. It asks for
    no instrument: it reads what streams."""
    name = "lag"
    if report.feed != "live":
        return skipped(name, "measured while the feed is live")
    try:
        with Feed(name="kitefeed doctor") as feed:
            ages_ms = _ages_ms(feed)
    except KitefeedError as error:
        return of_error(name, error)
    if not ages_ms:
        return wrong(name, f"the feed is live, and no tick came within {READ_S:.0f} s",
                     "`kitefeed top` shows where they stay")  # fmt: skip
    middle = sorted(ages_ms)[len(ages_ms) // 2]
    text = f"{middle:.1f} ms from the socket to a program, the middle of {len(ages_ms)} ticks"
    return (
        warning(name, text, "this host is busy: `kitefeed top` shows with what")
        if (middle > LAG_WARN_MS)
        else ok(name, text)
    )


def _ages_ms(feed: Feed) -> list[float]:
    """Return the ages of ticks that came while we read; last values are older, and say nothing of
    the way."""
    found: list[float] = []
    began_ns = boot_ns()
    while (left_s := READ_S - (boot_ns() - began_ns) / 1e9) > 0 and len(found) < 1_000:
        tick = feed.next(left_s)
        if tick is not None and tick.source == "websocket":
            age_s = tick.age_s
            if age_s < (boot_ns() - began_ns) / 1e9:
                found.append(age_s * 1e3)
    return found
