"""`kitefeed subscribe` and `unsubscribe`: what the daemon streams, remembered over restarts."""

import click

from kitefeed.cli.control import ANSWER_S, ask
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.messages.control import Answer, Answers, DropInstruments, WantInstruments
from kitefeed.protocol.messages.instruments import Mode

CONFIRM_S = 5.0  # the first packet of a liquid instrument takes less than one


@click.command()
@click.argument("instruments", nargs=-1, required=True, metavar="INSTRUMENT...")
@click.option(
    "--mode", type=click.Choice(["ltp", "quote", "full"]), help="Default: `mode` of the settings."
)
def subscribe(instruments: tuple[str, ...], mode: Mode | None) -> int:
    """Stream INSTRUMENTs (such as NSE:INFY), now and after every restart.

    Ends with 0 when Kite confirmed all, 75 when one was accepted but not confirmed yet, 65 when one
    was refused; each line says why.
    """
    wanted = WantInstruments(instruments, mode, is_kept=True, wait_s=CONFIRM_S)
    return report(ask(wanted, Answers, timeout_s=CONFIRM_S + ANSWER_S).answers)


@click.command()
@click.argument("instruments", nargs=-1, required=True, metavar="INSTRUMENT...")
def unsubscribe(instruments: tuple[str, ...]) -> int:
    """Forget INSTRUMENTs that `subscribe` asked for.

    One that a program listens to, or that the configuration names, goes on.
    """
    return report(ask(DropInstruments(instruments), Answers).answers)


def report(answers: tuple[Answer, ...]) -> int:
    """Print one line for each instrument; return the exit code they come to."""
    for answer in answers:
        detail = f": {answer.detail}" if answer.detail else ""
        is_error = answer.outcome == "refused"
        click.echo(f"{answer.instrument} {answer.outcome}{detail}", err=is_error)
    outcomes = {answer.outcome for answer in answers}
    if "refused" in outcomes:
        return Exit.BAD_INPUT
    return Exit.TRY_LATER if "accepted" in outcomes else Exit.OK
