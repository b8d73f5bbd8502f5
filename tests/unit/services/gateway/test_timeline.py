"""Tests what the page tells of a day."""

from kitefeed.services.gateway.timeline import EVENTS_MAX, Event, Timeline


def told(timeline: Timeline) -> list[tuple[str, str]]:
    return [(event.text, event.reason) for event in timeline.events]


def test_an_outage_is_told_from_its_detection_by_its_login_to_its_end() -> None:
    timeline = Timeline()
    timeline.note("live", "websocket", "valid", "streaming", 100.0)
    timeline.note("login_required", "cache", "refused", "Kite refuses the session", 200.0)
    timeline.note("login_required", "cache", "refused", "Kite refuses the session", 201.0)
    timeline.note("login_required", "cache", "unknown", "checking the session", 240.0)
    timeline.note("stale", "cache", "valid", "connecting", 241.0)
    timeline.note("live", "websocket", "valid", "streaming", 243.5)
    assert [(event.at_utc_s, event.feed, event.text) for event in timeline.events] == [
        (100.0, "live", "Prices are live"),
        (200.0, "login_required", "Login needed"),
        (241.0, "login", "Logged in to Kite"),
        (241.0, "stale", "No fresh prices"),
        (243.5, "live", "Prices are live"),
    ]
    last = timeline.events[-1]
    assert (last.lasted_s, last.login_s) == (43.5, 2.5)
    assert (timeline.events[0].lasted_s, timeline.events[0].login_s) == (None, None)


def test_trouble_without_a_login_ends_without_one() -> None:
    timeline = Timeline()
    timeline.note("stale", "none", "valid", "starting", 10.0)
    [event] = timeline.note("live", "websocket", "valid", "streaming", 12.0)
    assert (event.lasted_s, event.login_s) == (2.0, None)


def test_a_silent_daemon_between_two_sessions_hides_no_login() -> None:
    timeline = Timeline()
    timeline.note("login_required", "cache", "refused", "refused", 10.0)
    timeline.note("lost", "cache", "unknown", "the daemon is silent", 20.0)
    found = timeline.note("live", "websocket", "valid", "streaming", 30.0)
    assert [event.feed for event in found] == ["login", "live"]
    assert found[1].lasted_s == 20.0


def test_a_switch_of_source_is_told_and_a_reason_is_not_said_twice() -> None:
    timeline = Timeline()
    for source in ("none", "cache"):  # the same to a person
        timeline.note("stale", source, "valid", "starting", 1.0)
        timeline.note("closed", source, "valid", "", 2.0)
    for source in ("cache", "rest"):
        timeline.note("login_required", source, "refused", "no session", 4.0)
    timeline.note("paused", "none", "valid", "paused by the operator: `kitefeed source auto`", 5.0)
    timeline.note("lost", "cache", "unknown", "the daemon is silent", 6.0)
    assert told(timeline) == [
        ("No fresh prices", "starting"),
        ("The market is closed", ""),
        ("No fresh prices", "starting"),
        ("The market is closed", ""),
        ("Login needed", "no session"),
        ("Login needed, prices are polled", "no session"),
        ("Logged in to Kite", ""),
        ("Paused by the operator", ""),
        ("The daemon is silent", ""),
    ]


def test_a_page_is_told_what_came_after_what_it_knows_and_old_events_go() -> None:
    timeline = Timeline()
    for number in range(EVENTS_MAX + 5):
        timeline.note(("live", "stale")[number % 2], "none", "valid", "", float(number))
    assert len(timeline.events) == EVENTS_MAX
    assert [event.number for event in timeline.after(EVENTS_MAX + 3)] == [204, 205]
    assert isinstance(timeline.after(0)[0], Event)
