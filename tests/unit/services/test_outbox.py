"""Tests which target still has to be told what, and when it is tried."""

from kitefeed.services.notifier.alerts import Alert, Code, Links, compose
from kitefeed.services.notifier.outbox import QUEUED_MAX, TRIES_S, Outbox

S = 1_000_000_000


def alert(n: int = 0) -> Alert:
    return compose(Code.TEST, f"number {n}", Links("", "box"), n)


def test_each_target_is_told_each_alert_in_order_one_at_a_time() -> None:
    box = Outbox(["webhook", "command"])
    box.put(alert(1))
    box.put(alert(2))
    first = box.due(0)
    assert [(each.target, each.alert) for each in first] == [
        ("webhook", alert(1)),
        ("command", alert(1)),
    ]
    assert box.due(0) == []
    box.done("webhook", "", 0, 7.0)
    assert [(each.target, each.alert) for each in box.due(0)] == [("webhook", alert(2))]
    assert box.states["webhook"].delivered_utc_s == 7.0


def test_what_fails_is_tried_again_and_at_last_given_up_and_counted() -> None:
    box = Outbox(["webhook"])
    box.put(alert(1))
    box.put(alert(2))
    now_ns, tries = 0, 0
    while (due := box.due(now_ns)) and due[0].alert == alert(1):
        box.done("webhook", "answered 500", now_ns, 0)
        assert not box.is_delivered
        if tries < len(TRIES_S):
            assert box.due(now_ns + TRIES_S[tries] * S - 1) == []
            now_ns += TRIES_S[tries] * S
        tries += 1
    assert tries == len(TRIES_S) + 1
    assert due[0].alert == alert(2)
    box.done("webhook", "", now_ns, 0)
    assert box.is_delivered
    state = box.states["webhook"]
    assert (state.lost, state.delivered, state.waiting, state.problem) == (1, 1, 0, "")


def test_a_target_that_fails_holds_up_no_other() -> None:
    box = Outbox(["webhook", "command"])
    box.put(alert(1))
    box.due(0)
    box.done("webhook", "answered 500", 0, 0)
    box.done("command", "", 0, 0)
    box.put(alert(2))
    assert [each.target for each in box.due(0)] == ["command"]


def test_the_oldest_of_too_many_goes_but_not_the_one_under_way() -> None:
    box = Outbox(["webhook"])
    for n in range(QUEUED_MAX):
        box.put(alert(n))
    box.due(0)
    for n in range(10):
        box.put(alert(QUEUED_MAX + n))
    box.done("webhook", "", 0, 0)
    assert box.states["webhook"].lost == 10
    assert box.due(0)[0].alert == alert(11)


def test_it_is_busy_until_nothing_can_be_done_now() -> None:
    box = Outbox(["webhook"])
    assert not box.is_busy(0)
    box.put(alert())
    assert box.is_busy(0)
    box.due(0)
    assert box.is_busy(0)
    box.done("webhook", "answered 500", 0, 0)
    assert not box.is_busy(0)
