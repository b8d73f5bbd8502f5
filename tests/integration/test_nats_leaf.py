"""Tests of the feed itself, over NATS: what a program reads does not depend on the way it came."""

from collections.abc import Iterator

import pytest

from tests.integration.nats_kit import LeafStage, NatsServer
from tests.integration.test_async_feed import (  # noqa: F401 - they are collected here, too
    no_timer,
    test_a_burst_arrives_whole_and_in_order_though_nothing_but_the_descriptor_wakes_it,
    test_a_program_hears_of_the_loss_and_the_way_back_while_it_does_something_else,
    test_a_task_that_never_runs_dry_leaves_the_loop_to_the_others,
    test_it_gives_last_values_first_and_then_live_ones,
    test_it_reads_on_while_nobody_waits,
    test_ticks_that_a_look_of_the_program_took_in_wake_the_task_that_waits,
    test_two_tasks_that_iterate_get_the_ticks_in_turn,
    test_waiting_ends_with_a_value_with_its_time_or_with_the_feed,
)
from tests.integration.test_broadcaster_readers import (  # noqa: F401
    test_a_program_hears_of_every_change_of_the_headline,
    test_iteration_gives_last_values_first_and_ends_when_closed,
)
from tests.integration.test_events import (  # noqa: F401
    test_a_callback_may_close_its_feed_and_is_told_nothing_more,
    test_an_async_feed_reads_them_beside_its_ticks,
    test_callbacks_are_told_orders_and_notices_in_order_while_the_program_waits_for_ticks,
    test_orders_and_notices_come_in_order_beside_ticks_to_who_asks_for_them,
    test_who_does_not_ask_is_sent_none,
)
from tests.integration.test_subscribing import (  # noqa: F401
    test_a_batch_is_what_is_there_and_no_more_than_was_asked_for,
    test_a_feed_of_everything_is_told_nothing_more,
    test_what_is_subscribed_later_begins_with_its_last_value_and_ends_when_it_is_dropped,
)

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as made:
        yield made


@pytest.fixture
def stage(server: NatsServer, request: pytest.FixtureRequest) -> Iterator[LeafStage]:
    """Each test has a prefix of its own, and so streams of its own."""
    prefix = f"t{abs(hash(request.node.name))}"
    with LeafStage(server.url, f'orders = true\nprefix = "{prefix}"') as made:
        made.url = f"{server.url}/{prefix}"
        yield made
