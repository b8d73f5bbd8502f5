"""`kitefeed check`: is data arriving, for a monitor: one line, and the exit code it expects."""

from enum import IntEnum
from typing import Literal

import click
import msgspec

from kitefeed.cli import output
from kitefeed.cli.control import get_status
from kitefeed.protocol.errors import KitefeedError, TryLater, Unavailable
from kitefeed.protocol.messages.status import StatusReport

Format = Literal["nagios", "json", "prometheus"]
SECONDS = click.FloatRange(min=0, min_open=True)


class MonitorCode(IntEnum):
    """The exit codes of monitoring plugins; they are those of `check` alone."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class CheckResult(msgspec.Struct):
    """age_s: since the newest tick came from Kite; None where there is none, or none is due."""

    level: str
    code: int
    reason: str
    feed: str | None = None
    source: str | None = None
    session: str | None = None
    age_s: float | None = None
    subscribers: int | None = None


# How bad each headline is for a person whom it would wake.
_LEVELS = {
    "live": MonitorCode.OK,
    "closed": MonitorCode.OK,
    "rest": MonitorCode.WARNING,
    "paused": MonitorCode.WARNING,
}


@click.command()
@click.option("--age-warn", type=SECONDS, default=3.0, show_default=True, metavar="S",
              help="Warn when the newest tick is older.")  # fmt: skip
@click.option("--age-crit", type=SECONDS, default=10.0, show_default=True, metavar="S",
              help="Critical when it is older than this.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["nagios", "json", "prometheus"]),
              default="nagios", show_default=True)  # fmt: skip
def check(age_warn: float, age_crit: float, form: Format) -> int:
    """Say whether data arrives when it should, for Nagios, Icinga, Zabbix, cron.

    Exit code: 0 it does, or no market is open; 1 polled or late; 2 no current prices, or no daemon;
    3 it cannot be told.
    """
    verdict = judge_now(age_warn, age_crit)
    click.echo(_written(verdict, age_warn, age_crit, form))
    return verdict.code


def judge_now(age_warn: float, age_crit: float) -> CheckResult:
    """Asks the daemon; never raises what a monitor would take for a code of its own."""
    if age_warn > age_crit:
        return _verdict(MonitorCode.UNKNOWN, "--age-warn is larger than --age-crit: swap them")
    try:
        return judge(get_status(), age_warn, age_crit)
    except (Unavailable, TryLater) as error:
        return _verdict(MonitorCode.CRITICAL, str(error))
    except KitefeedError as error:
        return _verdict(MonitorCode.UNKNOWN, str(error))


def judge(report: StatusReport, age_warn: float, age_crit: float) -> CheckResult:
    """Return the worst of the headline, the age of the newest tick, and the processes."""
    reason = f" ({report.reason})" if report.reason else ""
    headline = f"feed {report.feed}, source {report.source}{reason}"
    found = [(_LEVELS.get(report.feed, MonitorCode.CRITICAL), headline)]
    age_s = report.last_tick_age_s if report.feed == "live" else None
    if report.feed == "live":
        level = _of_age(age_s, age_warn, age_crit)
        found.append((level, f"the newest tick is {output.age(age_s)} old"))
    down = [actor.role for actor in report.actors if actor.state != "up"]
    if down:
        found.append((MonitorCode.WARNING, f"not running: {', '.join(down)}"))
    level = max(level for level, _ in found)
    return msgspec.structs.replace(
        _verdict(level, "; ".join(text for _, text in found)),
        feed=report.feed,
        source=report.source,
        session=report.session,
        age_s=age_s,
        subscribers=report.subscribers,
    )


def _of_age(age_s: float | None, age_warn: float, age_crit: float) -> MonitorCode:
    if age_s is None or age_s > age_crit:
        return MonitorCode.CRITICAL
    return MonitorCode.WARNING if age_s > age_warn else MonitorCode.OK


def _verdict(level: MonitorCode, reason: str) -> CheckResult:
    return CheckResult(level.name, int(level), reason)


def _written(verdict: CheckResult, age_warn: float, age_crit: float, form: Format) -> str:
    if form == "json":
        return msgspec.json.encode(verdict).decode()
    if form == "prometheus":
        return _exposition(verdict)
    # `|` begins the performance data, and the output is one line.
    reason = " ".join(verdict.reason.replace("|", "/").split())
    age = "U" if verdict.age_s is None else f"{verdict.age_s}s"
    data = f"age={age};{age_warn:g};{age_crit:g};0"
    if verdict.subscribers is not None:
        data += f" subscribers={verdict.subscribers};;;0"
    return f"KITEFEED {verdict.level} - {reason} | {data}"


def _exposition(verdict: CheckResult) -> str:
    """Write the verdict for node_exporter's textfile collector; what is not known is left out."""
    is_up = verdict.feed is not None
    lines = [
        "# HELP kitefeed_check_status 0 ok, 1 warning, 2 critical, 3 unknown.",
        "# TYPE kitefeed_check_status gauge",
        f"kitefeed_check_status {verdict.code}",
        "# HELP kitefeed_check_daemon_up Whether the daemon answers.",
        "# TYPE kitefeed_check_daemon_up gauge",
        f"kitefeed_check_daemon_up {int(is_up)}",
    ]
    if is_up:
        labels = f'feed="{verdict.feed}",source="{verdict.source}",session="{verdict.session}"'
        lines += [
            "# HELP kitefeed_check_state_info The feed in words.",
            "# TYPE kitefeed_check_state_info gauge",
            f"kitefeed_check_state_info{{{labels}}} 1",
        ]
    if verdict.age_s is not None:
        lines += [
            "# HELP kitefeed_check_last_tick_age_seconds Since the newest tick came from Kite.",
            "# TYPE kitefeed_check_last_tick_age_seconds gauge",
            f"kitefeed_check_last_tick_age_seconds {verdict.age_s}",
        ]
    return "\n".join(lines)
