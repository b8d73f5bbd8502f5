"""`kitefeed doctor`: one question after the other on the way of a price, and what to do."""

import os
import platform
from collections.abc import Iterator

import click
import msgspec

from kitefeed import __version__
from kitefeed._hot import BUILD
from kitefeed.actors.runtime import config
from kitefeed.actors.runtime.config import Settings
from kitefeed.cli.control import get_status
from kitefeed.cli.diagnosis import daemon, host, kite
from kitefeed.cli.diagnosis.finding import Finding, of_error
from kitefeed.protocol.errors import ConfigError, KitefeedError
from kitefeed.protocol.messages.status import StatusReport

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "wrong": ("✗", "red"),
         "skipped": ("-", None)}  # fmt: skip


class Diagnosis(msgspec.Struct):
    """The answer that `--json` prints. It holds no secret, no key and no name of a user: a home
    directory, whose name is often one, is `~`."""

    version: str
    python: str
    system: str
    build: str
    findings: list[Finding]


@click.command()
@click.option("--json", "is_json", is_flag=True, help="One JSON object, without secrets.")
def doctor(is_json: bool) -> int:
    """Look for what keeps prices away: this host, the way to Kite, the daemon. Changes nothing.

    ✓ good, ! to be looked at, ✗ wrong, each with what to do. Ends with 0 when nothing is wrong,
    else with the exit code of the first that is. Takes no socket and at most three requests of
    Kite.
    """
    findings = []
    for finding in examine():
        findings.append(finding)
        if not is_json:
            click.echo(line(finding))
    if is_json:
        shown = [_without_home(finding) for finding in findings]
        python, system = platform.python_version(), platform.platform()
        found = Diagnosis(__version__, python, system, BUILD, shown)
        click.echo(msgspec.json.encode(found).decode())
    return next((f.code for f in findings if f.state == "wrong"), 0)


def _without_home(finding: Finding) -> Finding:
    home = os.path.expanduser("~")  # "~" itself for a user without one
    if home == "/":
        return finding
    text, remedy = (each.replace(home, "~") for each in (finding.text, finding.remedy))
    return msgspec.structs.replace(finding, text=text, remedy=remedy)


def line(finding: Finding) -> str:
    mark, colour = MARKS[finding.state]
    text = f"{click.style(mark, fg=colour, bold=True)} {finding.name:<13} {finding.text}"
    return f"{text}\n  {'':<13} -> {finding.remedy}" if finding.remedy else text


def examine() -> Iterator[Finding]:
    """Yield one finding after the other, as they come."""
    yield host.build()
    try:
        settings = config.load_for_daemon()
    except ConfigError as error:
        yield of_error("configuration", error)
        yield host.descriptors()
        return
    yield host.configuration(settings)
    yield host.modes(settings)
    yield host.descriptors()
    yield host.scheduler(settings)
    yield host.disk(settings)
    report = _report()
    yield from _way_to_kite(settings, report)
    yield from kite.session(settings, report)
    yield daemon.processes(report)
    yield daemon.duplicates(settings)
    yield daemon.instrument_list(settings)
    yield daemon.alerts(settings)
    if report is not None:
        yield daemon.services()
        yield daemon.headline(report)
        yield daemon.lag(report)


def _report() -> StatusReport | None:
    try:
        return get_status()
    except KitefeedError:
        return None


def _way_to_kite(settings: Settings, report: StatusReport | None) -> Iterator[Finding]:
    """Yield the findings on the way to Kite; without an answer, those that need one are left
    out."""
    yield kite.names(settings.config.kite.rest_url, "name, REST")
    yield kite.names(settings.config.kite.ws_url, "name, socket")
    yield kite.proxy(settings)
    answer = kite.ask(settings)
    if isinstance(answer, Finding):
        yield answer
    else:
        yield kite.tls(settings)
        yield kite.rest(answer)
        yield kite.clock(answer)
    yield kite.handshake(settings, report)
