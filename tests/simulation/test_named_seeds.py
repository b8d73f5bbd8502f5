"""Days that once broke a promise, by the name of what they found. The world has grown since, so a
seed need not tell its old story; each finding also has a unit test, named here."""

import pytest

from tests.simulation.days import simulate

FOUND = {
    # actors/ticker: test_what_a_buffer_held_while_the_host_slept_is_no_news
    "frames of a kernel buffer read as new after a suspend": 66,
    # actors/supervisor: test_network_trouble_after_three_refusals_does_not_speed_the_socket_up
    "network trouble after three 403s sped the socket up": 182,
    # actors/supervisor: test_a_429_after_a_403_is_bridged_by_rest
    "a 429 after a 403 kept REST from bridging": 41,
    # actors/ticker: test_a_quote_of_an_index_that_idles_vouches_for_no_other
    "a quote of an index that idles vouched for one that stood still": 61025,
    # actors/supervisor: test_a_mute_stream_is_doubted_in_a_session_the_calendar_does_not_know
    "a mute stream went unnoticed in a session the calendar does not know": 165,
    # actors/supervisor: test_a_stream_that_is_adopted_in_a_session_the_calendar_does_not_know_...
    "a new supervisor took a mute stream's canaries away for a second": 61058,
    # actors/supervisor: test_in_the_evening_sockets_are_watched_by_what_ticks_then
    "an index was to watch over sockets of commodities in the evening": 2,
    # actors/supervisor: test_a_socket_of_a_closed_segment_moves_to_a_new_login_without_a_proof
    "a socket of a closed segment kept its old login": 1,
}


@pytest.mark.parametrize("name", FOUND)
def test_this_day_is_well_now(name: str) -> None:
    failure = simulate(FOUND[name])
    assert failure is None, f"{name}\n{failure}"
