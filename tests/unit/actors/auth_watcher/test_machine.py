from kitefeed.actors.auth_watcher.machine import GRACE_NS, AuthWatcher, Observed
from kitefeed.actors.policy.machine import Welcomed
from kitefeed.protocol.messages import bus as m

A, B = Observed("primary", "aaaa"), Observed("primary", "bbbb")
NONE, TORN = Observed("primary", None), Observed("primary", None, "it is torn")


def seen(observed: Observed) -> m.SessionSeen:
    return m.SessionSeen(observed.slot, observed.fingerprint, observed.problem, observed.others)


def test_a_session_is_announced_at_once_and_only_when_it_changes() -> None:
    watcher = AuthWatcher()
    assert watcher.handle(A, 0) == [seen(A)]
    assert watcher.handle(A, 1) == []
    assert watcher.handle(B, 2) == [seen(B)]


def test_a_missing_file_is_announced_after_a_second() -> None:
    watcher = AuthWatcher()
    watcher.handle(A, 0)
    assert watcher.handle(NONE, 10) == []
    assert watcher.handle(NONE, 9 + GRACE_NS) == []
    assert watcher.handle(NONE, 10 + GRACE_NS) == [seen(NONE)]
    assert watcher.handle(NONE, 11 + GRACE_NS) == []


def test_a_file_replaced_with_the_same_session_is_no_news() -> None:
    watcher = AuthWatcher()
    watcher.handle(A, 0)
    watcher.handle(NONE, 1)
    watcher.handle(TORN, 2)
    assert watcher.handle(A, 3) == []
    assert watcher.handle(NONE, 4) == []
    assert watcher.handle(NONE, 3 + GRACE_NS) == []  # its second began anew


def test_a_torn_file_is_announced_only_when_it_stays_so() -> None:
    watcher = AuthWatcher()
    assert watcher.handle(TORN, 0) == []
    assert watcher.handle(B, GRACE_NS - 1) == [seen(B)]
    assert watcher.handle(TORN, GRACE_NS) == []
    assert watcher.handle(TORN, 2 * GRACE_NS) == [seen(TORN)]


def test_slots_are_independent() -> None:
    watcher = AuthWatcher()
    watcher.handle(A, 0)
    standby = Observed("standby", "aaaa")
    assert watcher.handle(standby, 0) == [seen(standby)]


def test_everything_announced_is_said_again_to_a_new_supervisor() -> None:
    watcher = AuthWatcher()
    assert watcher.handle(Welcomed(), 0) == []
    watcher.handle(A, 0)
    watcher.handle(NONE, 1)
    assert watcher.handle(Welcomed(), 2) == [seen(A)]
    assert watcher.handle(m.StopPolling(0), 3) == []


def test_what_other_files_hold_is_news_too() -> None:
    watcher = AuthWatcher()
    watcher.handle(A, 0)
    both = Observed("primary", "aaaa", others=("bbbb",))
    assert watcher.handle(both, 1) == [seen(both)]
    assert watcher.handle(both, 2) == []
    assert watcher.handle(A, 3) == [seen(A)]
