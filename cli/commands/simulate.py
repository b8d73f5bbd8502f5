"""`kitefeed simulate`: Kite on loopback, and the ways to make it misbehave.

aiohttp and the simulator are imported when a simulator starts, not when the command line does.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import click

from kitefeed.actors.runtime import descriptors
from kitefeed.protocol.exits import Exit
from kitefeed.simulator import discovery
from kitefeed.simulator.options import OPTIONS, Option, Options

ANSWER_S_MAX = 5.0
SPEED_MIN, SPEED_MAX = 0.01, 10_000


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(OPTIONS):
        command = click.option(
            option.flag,
            default=option.default,
            type=_type_of(option),
            show_default=True,
            help=option.help,
        )(command)
    return command


def _type_of(option: Option) -> click.ParamType[Any] | type[str]:
    if option.choices:
        return click.Choice(option.choices)
    if isinstance(option.default, float):
        return click.FloatRange(option.low, option.high)
    if isinstance(option.default, int):
        return click.IntRange(int(option.low), int(option.high))
    return str


@click.group(invoke_without_command=True)
@_with_options
@click.option("--replay", "date", metavar="DATE", help="Kite plays this recorded day.")
@click.option("--speed", default="1", show_default=True, metavar="N|max",
              help="How many times as fast the day is played.")  # fmt: skip
@click.option("--from", "since", metavar="TIME", help="Begin at this time of the day, as 09:15.")
@click.option("--dir", "recordings", metavar="PATH",
              help="Where recordings are; by default record.dir of the configuration.")  # fmt: skip
@click.pass_context
def simulate(
    context: click.Context,
    /,
    date: str | None,
    speed: str,
    since: str | None,
    recordings: str | None,
    **options: Any,
) -> None:
    """Run Kite on this machine: REST and WebSocket on one port, a seeded market, no account.

    \b
    answers   login, profile, margins, quotes, instruments, historical candles; orders (place,
              modify, cancel, list, history), trades, positions, holdings; WebSocket
    refuses   GTT, mutual funds, computation of margins and charges, conversion of positions,
              cover and auction orders; docs/simulator.md has every route

    With --replay its prices are those of a recorded day, each tick as it came, from the first
    subscription on; faults work on top.

    Prints one line of JSON with the addresses and credentials when it is ready, and runs until
    it is interrupted. The subcommands talk to a simulator that is running.
    """
    if context.invoked_subcommand is not None:
        return
    from kitefeed.simulator.run import run

    market = None
    if date is not None:
        # Imported here: reads recordings, which a simulator does without.
        from kitefeed.cli.replay.market import recorded_market

        market = recorded_market(date, since, recordings, speed_of(speed))
    descriptors.raise_limit(least=0)
    context.exit(run(Options(**options), market))


def speed_of(text: str) -> float | None:
    """Read a speed; None for `max`. Raises UsageError."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not SPEED_MIN <= speed <= SPEED_MAX:
        raise click.UsageError(f"--speed: {text!r} is neither a number such as 1 or 10, nor max")
    return speed


_url_option = click.option(
    "--url", metavar="URL", help="Address of the simulator. [the one that runs]"
)
_app_option = click.option("--app", type=click.IntRange(1), help="Number of a Kite app, from 1.")


@simulate.command()
@click.argument("name", metavar="NAME")
@click.argument("argument", metavar="[ARG]", required=False)
@_app_option
@_url_option
def fault(name: str, argument: str | None, app: int | None, url: str | None) -> None:
    """Let something go wrong, until `clear`.

    \b
    expire               the session is refused; open sockets go on, as on Kite
    kill                 the same, and the open sockets are closed
    refuse_ws [STATUS]   sockets closed, handshakes refused (403); REST is fine
    slow_ws SECONDS      handshakes are answered late
    drop_ws [HOW]        every socket ends once: close (a close frame), empty (one without a
                         code), twice, fin, rst, or a close code such as 1011
    drop_one [HOW]       the same for the socket that opened last
    silence              open sockets say nothing any more, not even goodbye
    mute                 heartbeats go on, ticks do not
    freeze TOKEN         one instrument ticks no more, though it moves
    rest_status STATUS   every REST call answers this
    oms_status STATUS    orders and portfolio answer this, all else is fine
    rest_down            REST connections end without an answer
    rest_slow SECONDS    REST answers late
    no_entitlement       a plan without market data
    not_enabled          logins are refused: the user is none of the app's
    clock SECONDS        the time that REST answers bear is so far ahead
    lose_subscribe [N]   the next N subscribe messages never arrive (1)
    lose_unsubscribe [N] the same of those that end a subscription
    lose_mode [N]        and of those that set a mode
    garbage              damaged frames between the good ones
    list cut|cut_plain|short|odd|NFO|NSE:INFY   the instrument list is cut off,
                         has two rows, odd columns, or lacks an exchange or instrument
    market open|closed   prices move or rest
    clear                all of it ends; a dead session stays dead
    """
    body: dict[str, object] = {"name": name, "arg": argument, "app": app}
    click.echo(json.dumps(_call(url, "/_sim/fault", body)))


@simulate.command()
@_app_option
@_url_option
def login(app: int | None, url: str | None) -> None:
    """Log an app in; its old session dies. Prints the new credentials as JSON."""
    click.echo(json.dumps(_call(url, "/_sim/login", {"app": app or 1})))


@simulate.command()
@_url_option
def stats(url: str | None) -> None:
    """Requests, handshakes, sockets, and the last packet of every instrument, as JSON."""
    click.echo(json.dumps(_call(url, "/_sim/stats", None)))


def _call(url: str | None, path: str, body: dict[str, object] | None) -> object:
    """Return the JSON answer. When there is none, or a refusal, the program ends with a
    sentence."""
    root = url or _only_one()
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(root.rstrip("/") + path, data)  # noqa: S310
        with _OPENER.open(request, timeout=ANSWER_S_MAX) as response:
            answer: object = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise click.UsageError(_reason(error)) from None
    except (OSError, ValueError):
        raise _Unavailable(
            f"No simulator answers at {root}: start one with `kitefeed simulate`."
        ) from None


def _only_one() -> str:
    """Return the address of the one simulator that runs, and name it. With several nobody
    guesses."""
    found = discovery.running()
    if not found:
        raise _Unavailable("No simulator is running: start one with `kitefeed simulate`.")
    if len(found) > 1:
        addresses = ", ".join(each.rest_url for each in found)
        raise click.UsageError(f"{len(found)} simulators run: {addresses}. Name one with --url.")
    (target,) = found
    click.echo(f"The simulator at {target.rest_url} (pid {target.pid}):", err=True)
    return target.rest_url


# Without the proxies of the environment: the simulator is on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the simulator answered {error.code}"


class _Unavailable(click.ClickException):
    exit_code = Exit.UNAVAILABLE
