"""Makes a small wrong change to the machines, and takes it back."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.simulation.exchange import S

Plant = tuple[Any, str, Any]  # where, which name, what it becomes
HOUR_NS = 3_600 * S


def nothing(*_: object, **__: object) -> None:
    return None


def wrapped(function: Callable[..., Any], before: Callable[..., Any]) -> Callable[..., Any]:
    """`before` may change the arguments that `function` gets."""

    def both(*arguments: Any, **options: Any) -> Any:
        return function(*before(*arguments), **options)

    return both


@contextmanager
def planted(plants: Iterable[Plant]) -> Iterator[None]:
    """The machines with these changes in them."""
    kept = [(where, name, getattr(where, name)) for where, name, _ in plants]
    try:
        for where, name, value in plants:
            setattr(where, name, value)
        yield
    finally:
        for where, name, value in kept:
            setattr(where, name, value)
