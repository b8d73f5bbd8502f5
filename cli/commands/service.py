"""`kitefeed service`: has systemd run the daemon; and one service in the foreground, by its name,
which is what supervisor.conf starts."""

from collections.abc import Callable

import click

from kitefeed.actors.runtime import config
from kitefeed.actors.runtime.locks import live_holders
from kitefeed.cli import user_unit
from kitefeed.cli.entry import imported
from kitefeed.cli.waiting import pause
from kitefeed.protocol import location
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import ConfigError, TryLater
from kitefeed.protocol.exits import Exit
from kitefeed.services.table import SERVICES, switched_off

# supervisord starts a service that failed again at once, because for it one that is switched off
# and ends immediately must count as started (startsecs=0). The pause between two tries is ours.
LIVED_S_MIN = 5.0
MACHINE_WIDE = (
    "Only a user's own unit is written by this command: add --user. The one for the whole machine "
    "is deploy/systemd/kitefeed.service, and says at its head what to do with it"
)


@click.group()
def service() -> None:
    """Have systemd run the daemon, also when you are not logged in.

    By their names it runs the services that supervisord starts, in the foreground: gateway,
    kite_endpoint, login, nats_bridge, notifier, recorder. By hand only to look at one of them.
    """


# --- one service ------------------------------------------------------------------------------


def _run(name: str) -> int:
    if _is_off(name):
        return Exit.OK
    began_ns = boot_ns()
    code = int(Exit.BUG)
    try:
        module = imported(f"kitefeed.services.{name}.process")
        code = int(module.main())
    finally:
        if code:
            pause(max(0.0, LIVED_S_MIN - (boot_ns() - began_ns) / 1e9))
    return code


def _is_off(name: str) -> bool:
    """Whether the service is switched off: asked before it is imported, which takes up to half a
    second of a core. The service itself waits for a configuration that can be used."""
    try:
        return name in switched_off(config.load().config)
    except ConfigError:
        return False


def _command(name: str, does: str) -> click.Command:
    run: Callable[[], int] = lambda: _run(name)  # noqa: E731
    return click.Command(name, callback=run, hidden=True, help=f"In the foreground: {does}.")


for _each in SERVICES.values():
    service.add_command(_command(_each.name, _each.does))


# --- systemd ----------------------------------------------------------------------------------

user_option = click.option(
    "--user", "is_user", is_flag=True, help="Of this user; needs no root. The only kind so far."
)


@service.command()
@user_option
@click.option("--print", "is_printed", is_flag=True, help="Show the unit, and write nothing.")
def install(is_user: bool, is_printed: bool) -> None:
    """Write a systemd unit for this installation and configuration, and start it."""
    _must_be_of_user(is_user)
    settings = config.load_for_daemon()  # systemd gives up on a configuration that is wrong
    place = settings.source or location.home() / location.CONFIG_NAME
    unit = user_unit.text(place)
    if is_printed:
        click.echo(unit, nl=False)
        return
    user_unit.systemctl()
    user_unit.write(unit)
    click.echo(f"{user_unit.path()} runs this installation with {place}")
    _tell_what_is_not_in_it()
    click.echo(
        "So that it also runs while you are logged out, and from the boot on:\n"
        "  loginctl enable-linger\n"
        "From now on: systemctl --user status|stop|restart kitefeed, and its log by\n"
        "  journalctl --user -u kitefeed"
    )
    is_running = bool(live_holders(settings.runtime_dir))
    if is_running:
        click.echo(
            "A daemon runs already. This one takes its place by:\n"
            "  kitefeed down; systemctl --user restart kitefeed"
        )
    enable = ["enable", "kitefeed"] if is_running else ["enable", "--now", "kitefeed"]
    _do(["daemon-reload"], enable)


@service.command()
@user_option
def uninstall(is_user: bool) -> None:
    """Stop the daemon that systemd runs for you, and remove its unit."""
    _must_be_of_user(is_user)
    user_unit.systemctl()
    place = user_unit.path()
    trouble = user_unit.run("disable", "--now", "kitefeed") if place.exists() else ""
    user_unit.remove()
    click.echo(f"{place} is removed; configuration, session and state stay")
    if trouble:
        raise TryLater(
            f"`systemctl --user disable --now kitefeed` failed ({trouble}): should the daemon "
            "still run, `kitefeed down` stops it"
        )
    _do(["daemon-reload"])


def _must_be_of_user(is_user: bool) -> None:
    if not is_user:
        raise click.UsageError(MACHINE_WIDE)


def _do(*commands: list[str]) -> None:
    """Give each command to systemctl. Raises TryLater at the first that fails, and says what is
    left to do."""
    for number, words in enumerate(commands):
        if trouble := user_unit.run(*words):
            left = "\n".join(f"  systemctl --user {' '.join(each)}" for each in commands[number:])
            raise TryLater(
                f"The unit is in its place, but systemd does not take it ({trouble}). From a login "
                f"of this user (not `su`), type:\n{left}"
            )


def _tell_what_is_not_in_it() -> None:
    """Name the settings of this shell: systemd starts the daemon without them. Their values may be
    secrets."""
    given = sorted(location.settings_from_environment())
    if given:
        names = ", ".join(f"${location.variable_of(place)}" for place in given)
        click.echo(
            f"The unit does not have what this shell sets by {names}: write it into the "
            "configuration, or add it by `systemctl --user edit kitefeed`"
        )
