"""Tests which of two bridges publishes."""

from kitefeed.protocol.nats import Lease
from kitefeed.services.nats_bridge.lease import HOLDS_NS, RENEW_NS, STOPS_NS, UNFED_NS, Keeper

S = 1_000_000_000


class Key:
    """The key in the bucket, compared and set."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.revision = 0

    def look(self, keeper: Keeper, now_ns: int, *, is_fed: bool = True) -> bool:
        """One look of a bridge, as its process takes it; whether it leads afterwards."""
        if not keeper.is_leading(now_ns):
            keeper.saw(self.lease, self.revision, now_ns)
        if keeper.wish(now_ns, is_fed=is_fed):
            lease, expected = keeper.offer(now_ns, 1_000, is_fed=is_fed)
            if expected == self.revision:
                self.revision += 1
                self.lease = lease
                keeper.granted(lease, self.revision, now_ns)
            else:
                keeper.denied()
        return keeper.is_leading(now_ns)


def test_the_first_leads_and_the_second_stands_by() -> None:
    key, one, two = Key(), Keeper("a"), Keeper("b")
    assert key.look(one, 0)
    for now_ns in range(0, 20 * S, S // 4):
        assert key.look(one, now_ns)
        assert not key.look(two, now_ns)


def test_the_second_takes_over_when_the_first_is_gone_and_never_while_it_publishes() -> None:
    key, one, two = Key(), Keeper("a"), Keeper("b")
    key.look(one, 0)
    key.look(two, 0)
    for now_ns in range(S // 4, 5 * S, S // 4):
        leads = key.look(two, now_ns)
        assert not (leads and one.is_leading(now_ns))
        if leads:
            break
    else:
        raise AssertionError("it never took over")
    assert HOLDS_NS < now_ns <= HOLDS_NS + S // 2
    assert two.term > one.term


def test_one_that_was_frozen_finds_its_time_over_before_it_sends_anything() -> None:
    key, one, two = Key(), Keeper("a"), Keeper("b")
    key.look(one, 0)
    key.look(two, 0)
    assert key.look(two, HOLDS_NS + 1)
    assert not one.is_leading(HOLDS_NS + 1)
    assert not key.look(one, HOLDS_NS + 2)
    assert key.lease is not None
    assert key.lease.holder == "b"


def test_one_that_is_started_again_takes_back_at_once_what_it_held() -> None:
    key = Key()
    key.look(Keeper("a"), 0)
    again = Keeper("a")
    assert key.look(again, S // 10)
    assert again.term > 1_000


def test_one_whose_data_arrives_takes_over_from_one_whose_data_does_not() -> None:
    key, one, two = Key(), Keeper("a"), Keeper("b")
    key.look(one, 0)
    took_ns = 0
    for now_ns in range(0, 6 * S, S // 4):
        key.look(one, now_ns, is_fed=now_ns < S)
        if key.look(two, now_ns):
            took_ns = took_ns or now_ns
    assert UNFED_NS < took_ns - S <= UNFED_NS + RENEW_NS + S // 2
    assert not key.look(one, 7 * S, is_fed=False)


def test_two_without_data_do_not_take_turns() -> None:
    key, one, two = Key(), Keeper("a"), Keeper("b")
    for now_ns in range(0, 10 * S, S // 4):
        key.look(one, now_ns, is_fed=False)
        assert not key.look(two, now_ns, is_fed=False)


def test_terms_rise_although_the_server_forgot_the_key() -> None:
    key, one = Key(), Keeper("a")
    key.look(one, 0)
    term = one.term
    key.lease, key.revision = None, 0
    assert not key.look(one, RENEW_NS)
    assert key.look(one, RENEW_NS + S)
    assert one.term > term
    assert STOPS_NS < HOLDS_NS


def test_a_renewal_whose_answer_was_lost_is_still_ours_and_renewed_from_there() -> None:
    key, one, two = Key(), Keeper("a"), Keeper("b")
    key.look(one, 0)
    term = one.term
    key.lease, _ = one.offer(RENEW_NS, 1_000, is_fed=True)
    key.revision += 1  # it was written, and nobody was told
    assert not key.look(two, STOPS_NS)
    assert key.look(one, STOPS_NS)
    assert (one.term, one.is_replaced) == (term, False)


def test_another_life_of_the_same_holder_is_another_one() -> None:
    key, one = Key(), Keeper("a")
    key.look(one, 0)
    again = Keeper("a")
    assert key.look(again, S)
    one.saw(key.lease, key.revision, STOPS_NS)
    assert one.is_replaced
