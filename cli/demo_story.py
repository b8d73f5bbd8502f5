"""The demo's story: steps, each with something that happens, a condition, and a time limit."""

from collections.abc import Callable
from typing import NamedTuple

from kitefeed.cli.demo_stage import Stage
from kitefeed.cli.prices import Row
from kitefeed.protocol.messages.status import StatusReport

REST_FRESH_S = 6.0  # a sweep every 5 s


class Scene(NamedTuple):
    """The state of the demo at one moment."""

    report: StatusReport
    rows: list[Row]


class Step(NamedTuple):
    """`narration` is shown from the action on; `name` stands in the summary; `hold_s`: how long the
    result is left to be looked at. A step that does not happen `within_s` fails the demo."""

    name: str
    narration: str
    act: Callable[[Stage], None] | None
    has_happened: Callable[[Scene], bool]
    within_s: float
    hold_s: float


def is_live(scene: Scene) -> bool:
    return scene.report.feed == "live" and any(row.is_fresh for row in scene.rows)


def is_polling(scene: Scene) -> bool:
    """Whether every value was polled, and is no older than a sweep."""
    return scene.report.feed == "rest" and all(
        row.source == "rest" and row.age_s is not None and row.age_s < REST_FRESH_S
        for row in scene.rows
    )


def is_waiting_for_login(scene: Scene) -> bool:
    """Whether the headline asks for a login, and every value can still be read."""
    return scene.report.feed == "login_required" and all(row.last_price for row in scene.rows)


STORY = (
    Step(
        "start to live prices",
        "Starting a simulated Kite and a daemon. The token is checked before the socket is opened.",
        None,
        is_live,
        30.0,
        4.0,
    ),
    Step(
        "WebSocket refused (403) to prices by REST",
        "Kite now refuses the WebSocket with 403, though the session is good. kitefeed backs off "
        "(5 s, 15 s), then polls quotes every 5 s.",
        Stage.refuse_websocket,
        is_polling,
        45.0,
        7.0,
    ),
    Step(
        "session killed to login_required",
        "The session is dead: REST is refused, too. Last known values stay readable, with their "
        "age. LOGIN on the page would end it; in a moment the demo logs in itself.",
        Stage.kill_session,
        is_waiting_for_login,
        15.0,
        8.0,
    ),
    Step(
        "new login to live prices",
        "A new login: its token is in the session file. No program is restarted.",
        Stage.log_in,
        is_live,
        10.0,
        3.0,
    ),
)
