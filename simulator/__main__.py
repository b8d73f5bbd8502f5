"""`python -m kitefeed.simulator`: as `kitefeed simulate`, for where click is not installed."""

import argparse
import sys
from collections.abc import Callable, Sequence

from kitefeed.simulator.options import OPTIONS, Option, Options
from kitefeed.simulator.run import run


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("kitefeed.simulator", description="Kite on loopback.")
    for option in OPTIONS:
        parser.add_argument(
            option.flag,
            default=option.default,
            type=_bounded(option),
            choices=option.choices or None,
            help=f"{option.help} [{option.default}]",
        )
    return run(Options(**vars(parser.parse_args(arguments))))


def _bounded(option: Option) -> Callable[[str], str | int | float]:
    kind = type(option.default)

    def value(text: str) -> str | int | float:
        number = kind(text)
        if not isinstance(number, str) and not option.low <= number <= option.high:
            raise argparse.ArgumentTypeError(f"must be from {option.low:g} to {option.high:g}")
        return number

    return value


if __name__ == "__main__":
    sys.exit(main())
