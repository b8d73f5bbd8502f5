"""`kitefeed demo`: live prices, a broken session, and the way back, told by itself."""

from collections.abc import Callable

import click

from kitefeed.cli import signals
from kitefeed.cli.control import get_status
from kitefeed.cli.demo_screen import DemoScreen, open_screen
from kitefeed.cli.demo_stage import INSTRUMENTS, Stage
from kitefeed.cli.demo_story import STORY, Scene, Step
from kitefeed.cli.prices import Prices
from kitefeed.cli.waiting import pause
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import TryLater, Unavailable

SHOW_S = 0.5
LOOK_S = 0.1  # between two looks: a step's time in the summary is as exact as this
FOR_EVER_S = 10 * 365 * 86_400.0


@click.command()
@click.option("--forever", is_flag=True, help="Go on after the stories, until Ctrl-C.")
def demo(forever: bool) -> None:
    """Show live prices of a simulated Kite, break the session twice, and recover.

    Takes about a minute, needs no account, and leaves a running daemon alone. The page it names
    shows the same in a browser, and can log in; --forever keeps both.
    """
    signals.note_when_told_to_end()
    stage = Stage()
    try:
        stage.start()
        times = _perform(stage, forever)
    finally:
        signals.ignore_interrupts()
        stage.close()
    click.echo("\nHow long each step took:")
    for name, seconds in times:
        click.echo(f"  {seconds:5.1f} s  {name}")


def _perform(stage: Stage, is_endless: bool) -> list[tuple[str, float]]:
    screen = open_screen(stage.page)
    try:
        with Prices(INSTRUMENTS) as prices:
            theatre = Theatre(stage, screen, prices)
            times = [(step.name, theatre.perform(step)) for step in STORY]
            if is_endless:
                screen.say("That was the story. Prices and page go on until Ctrl-C.")
                theatre.watch(FOR_EVER_S)
    finally:
        screen.close()
    return times


class Theatre:
    """Performs steps while the screen shows what is going on."""

    def __init__(self, stage: Stage, screen: DemoScreen, prices: Prices) -> None:
        self._stage = stage
        self._screen = screen
        self._prices = prices
        self._shown_ns = 0

    def perform(self, step: Step) -> float:
        """Let the step happen; return how long it took in seconds. Raises TryLater when it does not
        happen."""
        self._screen.say(step.narration)
        began_ns = boot_ns()
        if step.act is not None:
            step.act(self._stage)
        while not self._look(step.has_happened):
            if boot_ns() - began_ns > step.within_s * 1e9:
                raise self._failure(f"{step.name}: did not happen within {step.within_s:.0f} s")
            pause(LOOK_S)
        took_s = (boot_ns() - began_ns) / 1e9
        self.watch(step.hold_s)
        return took_s

    def watch(self, seconds: float) -> None:
        """Show what is there, for so long."""
        end_ns = boot_ns() + int(seconds * 1e9)
        while boot_ns() < end_ns:
            self._look(lambda scene: False)
            pause(LOOK_S)

    def _look(self, has_happened: Callable[[Scene], bool]) -> bool:
        """Look at the daemon once; return whether the condition holds there."""
        if self._stage.has_ended():
            raise self._failure("A process of the demo ended by itself")
        try:
            scene = Scene(get_status(), self._prices.rows())
        except Unavailable:
            return False  # it is starting
        is_true = has_happened(scene)
        if is_true or boot_ns() - self._shown_ns > SHOW_S * 1e9:
            self._shown_ns = boot_ns()
            self._screen.show(scene)
        return is_true

    def _failure(self, sentence: str) -> TryLater:
        self._screen.close()
        return TryLater(f"{sentence}. What its processes said last:\n{self._stage.last_lines()}")
