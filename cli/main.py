"""`kitefeed`: the commands, each imported only when it is used."""

import click

from kitefeed import __version__
from kitefeed._hot import BUILD
from kitefeed.actors.runtime import memory
from kitefeed.actors.runtime.secrets import redact
from kitefeed.cli import environment, streams
from kitefeed.cli.entry import INTERRUPTED, imported
from kitefeed.protocol.errors import KitefeedError
from kitefeed.protocol.exits import Exit

# Command -> module:attribute. The order is that of the help text.
COMMANDS = {
    "init": "kitefeed.cli.commands.init:init",
    "up": "kitefeed.cli.commands.up:up",
    "down": "kitefeed.cli.commands.down:down",
    "status": "kitefeed.cli.commands.status:status",
    "top": "kitefeed.cli.commands.top:top",
    "doctor": "kitefeed.cli.commands.doctor:doctor",
    "check": "kitefeed.cli.commands.check:check",
    "alerts": "kitefeed.cli.commands.alerts:alerts",
    "watch": "kitefeed.cli.commands.watch:watch",
    "tail": "kitefeed.cli.commands.tail:tail",
    "bars": "kitefeed.cli.commands.bars:bars",
    "login": "kitefeed.cli.commands.login:login",
    "session": "kitefeed.cli.commands.session:session",
    "subscribe": "kitefeed.cli.commands.subscribe:subscribe",
    "unsubscribe": "kitefeed.cli.commands.subscribe:unsubscribe",
    "source": "kitefeed.cli.commands.source:source",
    "pause": "kitefeed.cli.commands.source:pause",
    "retry": "kitefeed.cli.commands.source:retry",
    "instruments": "kitefeed.cli.commands.instruments:instruments",
    "market": "kitefeed.cli.commands.market:market",
    "verify": "kitefeed.cli.commands.verify:verify",
    "export": "kitefeed.cli.commands.export:export",
    "replay": "kitefeed.cli.commands.replay:replay",
    "keys": "kitefeed.cli.commands.keys:keys",
    "service": "kitefeed.cli.commands.service:service",
    "demo": "kitefeed.cli.commands.demo:demo",
    "simulate": "kitefeed.cli.commands.simulate:simulate",
    "actor": "kitefeed.cli.commands.actor:actor",
    "supervisord-listener": "kitefeed.cli.commands.listener:listener",
}

# What `kitefeed --help` says of each, so that it imports none. Hidden ones are not here.
SUMMARIES = {
    "init": "Write the configuration: ~/.kitefeed/kitefeed.toml, or...",
    "up": "Run the daemon in the foreground; Ctrl-C stops it.",
    "down": "Stop the running daemon.",
    "status": "Show the state of the feed.",
    "top": "Show rates, lags and losses, live, until q is pressed:...",
    "doctor": "Look for what keeps prices away: this host, the way to...",
    "check": "Say whether data arrives when it should, for Nagios,...",
    "alerts": "Tell people of trouble: try whether they are reached.",
    "watch": "Show prices in a table, live, until q is pressed.",
    "tail": "Print ticks as they come: last values first, then live...",
    "bars": "Print the bars of INSTRUMENTs: those of today, or with...",
    "login": "Log in to Kite and store the session.",
    "session": "Set, show or clear the Kite session.",
    "subscribe": "Stream INSTRUMENTs (such as NSE:INFY), now and after...",
    "unsubscribe": "Forget INSTRUMENTs that `subscribe` asked for.",
    "source": "Choose where prices come from; remembered over restarts.",
    "pause": "Stop asking Kite for anything, until `kitefeed source...",
    "retry": "Forget the waits and try to connect now.",
    "instruments": "Look up instruments.",
    "market": "Show the sessions of today, or of DATE (2026-11-24),...",
    "verify": "Say what the recording of DATE (2026-11-30) holds and...",
    "export": "Write the recorded ticks of DATE (2026-11-30) as...",
    "replay": "Play the recorded day DATE (2026-11-30) again, for any...",
    "keys": "Make the keys of the tcp feed: the daemon's own, and...",
    "service": "Have systemd run the daemon, also when you are not...",
    "demo": "Show live prices of a simulated Kite, break the...",
    "simulate": "Run Kite on this machine: REST and WebSocket on one...",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own: `kitefeed status` must not wait for the
    import of a WebSocket client."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        command: click.Command = getattr(imported(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. click takes a broken pipe for an error, and other troubles of the
        streams for bugs; here both end as `streams` says."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            return streams.after(error)


def _version(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
    if is_asked:
        click.echo(f"kitefeed {__version__} ({BUILD})")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="The configuration. Default: $KITEFEED_CONFIG, ./kitefeed.toml, ~/.kitefeed/kitefeed.toml",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
    help="Show the version and exit.",
)  # fmt: skip
def cli(config: str | None) -> None:
    """One self-healing Kite Connect market-data feed for every program on the machine."""
    memory.forbid_core_dumps()  # several commands hold a token, a secret or a key
    if config is not None:
        environment.name_config(config)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; expected errors are one sentence on stderr."""
    try:
        result = cli.main(arguments, prog_name="kitefeed", standalone_mode=False)
        return result if isinstance(result, int) else Exit.OK
    except KitefeedError as error:
        streams.complain(f"kitefeed: {redact(str(error))}")
        return error.exit_code
    except click.ClickException as error:
        return _shown(error)
    except UnicodeEncodeError:
        streams.complain("kitefeed: what was given holds bytes that are no text: write UTF-8")
        return Exit.BAD_INPUT
    except OSError as error:  # of click itself: `--help` into a full disk
        return streams.after(error)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED


def _shown(error: click.ClickException) -> int:
    """Show click's words about a wrong command line; return its exit code."""
    try:
        error.show()
    except OSError as trouble:
        streams.after(trouble)
    return error.exit_code
