"""`kitefeed status`: the daemon's state, for people and for programs."""

import sys
from datetime import datetime
from pathlib import Path

import click
import msgspec

from kitefeed.actors.runtime import toml_file
from kitefeed.cli import output
from kitefeed.cli.control import get_status
from kitefeed.cli.waiting import pause
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import ConfigError, KitefeedError, Unavailable
from kitefeed.protocol.messages.status import (
    ActorStatus,
    HeldStatus,
    ListStatus,
    Outage,
    ShardStatus,
    StatusReport,
    SubscriptionCounts,
    Target,
    Unconfirmed,
)

WATCH_S = 1.0
NAMES_SHOWN_MAX = 20  # `--json` has more
ALL_RUN = "all run"
NORMAL = "streaming"  # the reason of a live feed
HELD_SHOWN_MAX = 3
DOWN = "not running"


@click.command()
@click.option("--json", "is_json", is_flag=True, help="One JSON object, for programs.")
@click.option("--watch", "is_watching", is_flag=True, help="Show it again every second.")
def status(is_json: bool, is_watching: bool) -> None:
    """Show the state of the feed."""
    report = get_status()
    if not is_watching:
        click.echo(_json(report) if is_json else text(report))
    elif is_json:
        _watch_json(report)
    elif sys.stdout.isatty():
        _watch_terminal(report)
    else:
        _watch_changes(report)


def _json(report: StatusReport) -> str:
    """Write the daemon's report, and what it does not know itself: its services."""
    services = {name: word for name, word, _ in _services()}
    return msgspec.json.encode(msgspec.to_builtins(report) | {"services": services}).decode()


def text(report: StatusReport) -> str:
    """The report as aligned lines, what matters most first."""
    found = rows(report)
    if len(report.shards) > 1:
        found += [("sockets", _shard_line(shard)) for shard in report.shards]
    found += [("processes", line) for line in processes(report.actors)]
    found += [(name.replace("_", " "), _service(word, at)) for name, word, at in _services()]
    found += [(each.name, each.problem) for each in report.readers if each.problem]
    # Every line says `replay`, so that nobody takes it for the present, wherever it is pasted.
    before = "replay  " if report.feed == "replay" else ""
    return "\n".join(f"{before}{name:<15} {_painted(name, value, report)}" for name, value in found)


def _services() -> list[tuple[str, str, str]]:
    # Imported here: other users of this module do without the configuration.
    from kitefeed.cli import running

    return [*running.services()]


def _service(word: str, where: str) -> str:
    """Write a service's address, `off`, or that it should run and does not."""
    if word == "running":
        return where
    return "off" if word == "off" else f"{DOWN}, should be at {where}: see the daemon's log"


def _painted(name: str, value: str, report: StatusReport) -> str:
    """Colour what has to be seen; into a file or pipe click leaves colours out."""
    if name == "feed":
        return click.style(value, fg=output.colour_of(report.feed), bold=True)
    is_trouble = name in ("refused", "unconfirmed", "orders") or (
        name == "processes" and value != ALL_RUN
    )
    is_trouble = is_trouble or value.startswith(DOWN)
    return click.style(value, fg="red") if is_trouble else value


def rows(report: StatusReport) -> list[tuple[str, str]]:
    """Return name and value of each line, processes apart; the value is empty where all is as
    always."""
    market = ", ".join(f"{segment} {state}" for segment, state in report.market.items())
    counts = report.subscriptions
    found = [
        ("feed", report.feed),
        ("reason", "" if report.reason == NORMAL else report.reason),
        ("since", _since(report.since_utc_s)),
        ("source", source(report)),
        ("session", report.session),
        ("user", _user(report)),
        ("token", token(report)),
        ("kite", target(report.target)),
        ("standby", "" if report.standby in ("none", "absent") else report.standby),
        ("next attempt", next_attempt(report)),
        ("market", market),
        ("next open", next_open(report)),
        ("subscriptions", _counts(counts)),
        ("instrument list", instrument_list(report.instrument_list)),
        ("orders", report.orders_unread),
        ("readers", f"{report.subscribers} subscribed"),
        ("other hosts", report.tcp_feed.endpoint if report.tcp_feed else ""),
        ("last tick", _ago(report.last_tick_age_s)),
        ("last outage", outage(report.last_outage) if report.last_outage else ""),
        *(("configuration", line) for line in configuration(report.config)),
        ("version", ", ".join(filter(None, (report.version, report.build)))),
    ]
    found = [(name, value) for name, value in found if value]
    found += _held(report.held)
    refused = [f"{name}: {why}" for name, why in counts.refused.items()]
    found += _names("unconfirmed", [*map(_unconfirmed, counts.unconfirmed)])
    kept = [f"{name}: {why}" for name, why in report.instrument_list.kept.items()]
    return found + _names("refused", refused) + _names("kept", kept)


def _since(utc_s: float) -> str:
    return f"{output.clock_time(utc_s)}, {_ago(utc_ns() / 1e9 - utc_s)}"


def source(report: StatusReport) -> str:
    """Say where prices come from, and when the operator decided that."""
    if report.override == "auto":
        return report.source
    return f"{report.source} ({report.override} by command; `kitefeed source auto` ends that)"


def token(report: StatusReport) -> str:
    """Say how old the access token is, and when Kite ends it; nothing without a token."""
    if report.session == "absent":
        return ""
    # Imported here: the other lines do without the session file.
    from kitefeed.actors.runtime import config, session_file
    from kitefeed.cli.session_store import lifetime

    try:
        settings = config.load()
        in_use = next((each.fingerprint for each in report.sessions if each.is_in_use), None)
        found = session_file.current(settings, "primary", in_use)
    except KitefeedError as error:
        return str(error)
    return (
        "" if found is None else lifetime(found, utc_ns() / 1e9) or _stored(settings.session_path)
    )


def _stored(path: Path) -> str:
    """Say all that is known of a token that came without the time of its login."""
    try:
        age_s = utc_ns() / 1e9 - path.stat().st_mtime
    except OSError:
        return ""
    return f"stored {_ago(age_s)}; when its user logged in is unknown"


def next_attempt(report: StatusReport) -> str:
    """Say when the next attempt is, and how often Kite has refused the WebSocket in a row."""
    parts = [] if report.retry_in_s is None else [f"in {output.age(report.retry_in_s)}"]
    if report.consecutive_403:
        parts.append(f"the WebSocket was refused (403) {report.consecutive_403} times in a row")
    return "; ".join(parts)


def next_open(report: StatusReport) -> str:
    """Say when the market opens next, IST; empty while a segment is open."""
    if report.next_open is None or report.feed != "closed":
        return ""
    return output.day_and_time(datetime.fromisoformat(report.next_open))


def processes(actors: list[ActorStatus]) -> list[str]:
    """Return the lines of processes that are not as they should be; `kitefeed top` shows all."""
    trouble = [_actor_line(actor) for actor in actors if actor.state != "up"]
    return trouble or [ALL_RUN]


def _held(held: list[HeldStatus]) -> list[tuple[str, str]]:
    """Name the instruments that read stale although they stream, and those whose silence is the
    cause."""
    return [("held stale", f"{each.held}: {_silent(each)}") for each in held]


def _silent(held: HeldStatus) -> str:
    shown = ", ".join(held.silent[:HELD_SHOWN_MAX])
    more = len(held.silent) - HELD_SHOWN_MAX
    who = f"{shown} and {more} more" if more > 0 else shown
    return f"{who} on socket {held.shard}, for {output.age(held.age_s)}"


def configuration(digests: dict[str, str]) -> list[str]:
    """Return each file that the daemon was started with, and whether it is still what it was."""
    return [f"{name}{_edited(Path(name), digest)}" for name, digest in digests.items()]


def _edited(path: Path, digest: str) -> str:
    if toml_file.digest(path) == digest:
        return ""
    # Imported here: what the settings mean is needed only now.
    from kitefeed.actors.runtime import config

    try:
        config.load_for_daemon()
    except ConfigError as error:
        return (
            f": the file was changed and cannot be used, the daemon goes on with the old: {error}"
        )
    return (
        ": the file is newer than the daemon; `kitefeed down`, then `kitefeed up` puts it in force"
    )


def _names(name: str, lines: list[str]) -> list[tuple[str, str]]:
    shown, more = lines[:NAMES_SHOWN_MAX], len(lines) - NAMES_SHOWN_MAX
    shown += [f"and {more} more: `kitefeed status --json`"] if more > 0 else []
    return [(name, line) for line in shown]


def _unconfirmed(late: Unconfirmed) -> str:
    came = "nothing came" if late.comes_in is None else f"comes in {late.comes_in} only"
    asked = f"{late.mode} was asked for {_ago(late.since_s)}"
    return f"{late.instrument}: {came}; {asked}, and is asked for again"


def instrument_list(known: ListStatus) -> str:
    """Say how many instruments of which day are known, and what went wrong with the last fetch."""
    parts = [f"{known.rows:,} of {known.day_ist}" if known.rows else "none yet"]
    if known.outcome == "doubted":
        remedy = "`kitefeed instruments fetch --believe` takes it"
        parts.append(f"a newer one is not believed: {known.detail}; {remedy}")
    elif known.outcome == "failed":
        parts.append(f"the last fetch failed: {known.detail}")
    if known.left_out:
        parts.append(f"{known.left_out:,} rows were left out")
    return "; ".join(parts)


def _user(report: StatusReport) -> str:
    if report.user_id is None:
        return output.NOTHING
    return f"{report.user_name or '?'} ({report.user_id})"


def target(found: Target | None) -> str:
    """Say which Kite it is; all but the real one with their addresses."""
    if found is None:
        return output.NOTHING
    if found.kind == "kite":
        return "Kite"
    return f"{found.kind}: {found.rest_url}, {found.ws_url}"


def _counts(counts: SubscriptionCounts) -> str:
    if counts.wanted == counts.asked == counts.confirmed:
        return f"{counts.wanted}, all confirmed"
    return f"{counts.wanted} wanted, {counts.asked} asked for, {counts.confirmed} confirmed"


def _ago(seconds: float | None) -> str:
    return output.NOTHING if seconds is None else f"{output.age(seconds)} ago"


def outage(last: Outage | None) -> str:
    """Say in one line what the outage was, when it began, and how long until it was over."""
    if last is None:
        return "none"
    began = f"{last.condition}, from {output.clock_time(last.detected_utc_s)}"
    if last.restored_utc_s is None:
        return f"{began}, not over"
    lasted = f"{began}, lasted {output.age(last.restored_utc_s - last.detected_utc_s)}"
    if last.login_utc_s is None:
        return lasted
    return f"{lasted}, live {output.age(last.restored_utc_s - last.login_utc_s)} after the login"


def _shard_line(shard: ShardStatus) -> str:
    counts = f"{shard.instruments} instruments, {shard.confirmed} confirmed"
    return f"{shard.shard} {shard.state:<12} source {shard.source:<10} {counts}"


def _actor_line(actor: ActorStatus) -> str:
    line = f"{actor.role:<15} {actor.state:<8} pid {actor.pid or output.NOTHING}"
    return f"{line}, heard {_ago(actor.beat_age_s)}" if actor.beat_age_s is not None else line


def _latest() -> StatusReport | None:
    """Return the status; None while no daemon answers: a watch goes on, because daemons are
    restarted."""
    try:
        return get_status()
    except Unavailable:
        return None


def _watch_json(report: StatusReport | None) -> None:
    while True:
        if report is not None:
            click.echo(_json(report))
        pause(WATCH_S)
        report = _latest()


def _watch_changes(report: StatusReport | None) -> None:
    """Print into a file or pipe the whole block when the headline changes, and nothing in
    between."""
    shown = ""
    while True:
        headline = _headline(report)
        if headline != shown:
            shown = headline
            click.echo(f"{text(report)}\n" if report else headline)
        pause(WATCH_S)
        report = _latest()


def _headline(report: StatusReport | None) -> str:
    if report is None:
        return "no daemon answers"
    return f"{report.feed} {report.source} {report.session} {report.reason}"


def _watch_terminal(report: StatusReport | None) -> None:
    # Imported here: a single `status` does without a table renderer.
    from rich.text import Text

    from kitefeed.cli.screen import HINT, Screen

    with Screen() as screen:
        is_over = False
        while not is_over:
            shown = text(report) if report else "no daemon answers; waiting for one"
            screen.show(Text.from_ansi(shown).append(f"\n\n{HINT}", style="dim"))
            is_over = screen.is_over(WATCH_S)
            report = _latest()
