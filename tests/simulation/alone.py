"""Things that happen to a feed that is well, one at a time: nothing beside it hides what follows.
As in `faults.py`, each returns how long it lasts, in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kitefeed.protocol.kite.ticks import is_index
from kitefeed.protocol.messages.control import SetSource
from tests.simulation.exchange import SLOW, S
from tests.simulation.faults import (
    ROLES,
    Fault,
    bad_login,
    half_open,
    new_login,
    second_login,
    supervisor_crash,
    torn_file,
    wants,
)
from tests.simulation.kite import DROPPED, SOCKETS_MAX, RestMode
from tests.simulation.life import require

if TYPE_CHECKING:
    from random import Random

    from tests.simulation.story import Story

THINGS = 8  # on a day
DROWSY = "NSE:DROWSY"


def mouth_restarts(story: Story) -> float:
    """The broadcaster, soon or late; perhaps nobody feeds it when it is back."""
    world, rng = story.world, story.rng
    seconds = rng.choice([0.5, 3.0, rng.uniform(10, 25)])
    if world.mouth.is_up:
        world.killed(world.mouth, seconds)
    if rng.random() < 0.3:
        story.drop_all()
        world.kite.socket = "502"
    return seconds + rng.choice([3.0, 12.0])


def falls_silent(story: Story) -> float:
    """One socket, sometimes all of them, send heartbeats only, while the market moves."""
    rng, sockets = story.rng, sorted(story.sockets, key=lambda socket: socket.link.shard)
    one = rng.choice([sockets[-1:], sockets[-1:], rng.sample(sockets, min(1, len(sockets)))])
    for socket in rng.choice([one, one, sockets]):
        story.world.sicken(socket.link, "mute")
    return rng.uniform(0, 15)


def only_rest(story: Story) -> float:
    """No socket is let in; REST answers, and once in a while lacks an instrument."""
    kite, rng = story.world.kite, story.rng
    kite.socket = rng.choice(["502", "403", "403"])
    story.drop_all()
    if rng.random() < 0.5:
        tokens = [i.token for i in story.world.centre.machine.state.instruments]
        story.world.after(27, lambda: setattr(kite, "lacking", rng.choice(tokens)))
        story.world.after(27, lambda: story.world.alert(9))
    story.world.after(42, lambda: story.world.alert(4))  # by then quotes must be polled
    match story.aside.choice(["", "dies", "stutters", "stutters"]):
        case "dies":
            story.world.after(46, lambda: _poller_dies(story))
            return 54
        case "stutters":  # for longer than what was polled is fresh, and back again
            story.world.after(46, lambda: _rest_is(story, "5xx"))
            story.world.after(64, lambda: _rest_is(story, "ok"))
            return 78
    return 46


def _rest_is(story: Story, mode: RestMode) -> None:
    story.world.kite.rest = mode
    story.world.disturbed_ns = story.world.now_ns
    story.world.alert(14)


def _poller_dies(story: Story) -> None:
    """In the middle of its round; perhaps for so long that it is missed."""
    poller = story.world.poller
    if poller.is_up:
        story.world.killed(poller, story.aside.choice([0.5, 2.0, 7.0]))


def one_is_kept_out(story: Story) -> float:
    """One of several sockets ends, and is not let in again while the others stream."""
    world, rng = story.world, story.rng
    world.kite.socket = rng.choice(["502", "403"])
    if story.sockets:
        world.ticker.drop(rng.choice(story.sockets).link, 1006, DROPPED)
    return rng.uniform(5, 25)


def crowded(story: Story) -> float:
    """Other programs of the same key take the places of sockets that we have lost."""
    story.world.kite.ghosts = story.rng.randint(1, SOCKETS_MAX)
    story.drop_all()
    return story.rng.uniform(8, 30)


def late_reports(story: Story) -> float:
    """Old reports come again: of the attempt, of the login, of the polling before this one."""
    story.world.is_echoing = True
    acts = [_late_refusal, _late_verdict, _late_sweep]
    story.rng.shuffle(acts)
    for act in acts:
        act(story)
    return 0


def _late_refusal(story: Story) -> None:
    """While the next attempt takes its time."""
    world, rng = story.world, story.rng
    world.kite.socket = rng.choice(["403", "502", "502"])
    story.drop_all()
    story.wait(rng.uniform(0.6, 1.5))
    world.kite.socket = "slow"
    story.wait(7)
    world.kite.socket = "ok"


def _late_verdict(story: Story) -> None:
    """A login that never lived, and soon the next one."""
    bad_login(story)
    story.wait(story.rng.uniform(0.6, 2))
    story.login(by_file=True)
    story.wait(8)


def _late_sweep(story: Story) -> None:
    """Polling ends, by a pause, and begins under another epoch."""
    world = story.world
    for override, seconds in (("rest", 4), ("paused", 1), ("rest", 7), ("auto", 0.5)):
        if world.centre.is_running:
            world.centre.operate(SetSource(override))  # type: ignore[arg-type]
        world.alert(seconds)
        story.wait(seconds)


def nobody_answers(story: Story) -> float:
    """A login that nobody can judge, while sockets are lost."""
    story.world.kite.rest = "hang"
    story.login(by_file=True)
    if story.aside.random() < 0.5:
        story.drop_all()
    return story.rng.uniform(8, 15)


def session_dies(story: Story) -> float:
    """Somebody logs in elsewhere, or leaves a token that never lived; and our sockets end."""
    story.rng.choice([second_login, bad_login])(story)
    story.drop_all()
    return story.rng.uniform(15, 30)


def restarts_in_a_lull(story: Story) -> float:
    """Nothing trades for half a minute, and just then the sockets end: what comes is old."""
    world = story.world
    for floor in world.exchange.floors:
        floor.pause(world.true_utc_ns + S, world.true_utc_ns + 34 * S)
    world.alert(30)
    story.wait(9)
    story.drop_all()
    return 21


def one_hangs(story: Story) -> float:
    """For so long that it is killed."""
    story.world.freeze(getattr(story.world, story.aside.choice(ROLES)), 9.0)
    return 12


def lid_closed(story: Story) -> float:
    """The host sleeps for longer than a socket may be silent."""
    story.world.suspend(story.rng.uniform(12, 200))
    return 0


def plan_ends(story: Story) -> float:
    for account in story.world.kite.accounts.values():
        account.has_data = False
    story.drop_all()
    return story.rng.uniform(25, 50)


def batches_lost(story: Story) -> float:
    """The broadcaster stood still for so long that its queue was full: ticks never reach it."""
    world = story.world
    if DROWSY in world.basket.keys:
        world.reader.want(DROWSY)  # no tick of its own will make good what it lacks
        story.wait(5)
    world.losing = story.aside.choice([1, 1, 3, 12])
    world.alert(20)
    return story.aside.uniform(8, 20)


def messages_lost(story: Story) -> float:
    """Lose what is asked of a socket, new or open; perhaps also what repeats it."""
    world, rng = story.world, story.aside
    kinds = rng.choice([["subscribe"], ["subscribe"], ["mode"], ["subscribe", "mode"]])
    world.kite.losing = {kind: rng.choice([1, 1, 2]) for kind in kinds}
    world.kite.losing["unsubscribe"] = 1
    if rng.random() < 0.5:
        story.drop_all()
    else:
        for key in world.basket.keys:
            (world.reader.drop if key in world.reader.keys else world.reader.want)(key)
    world.alert(45)  # what nobody reads any more ends after half a minute
    return 45


def held_up(story: Story) -> float:
    """The network stands still, and what it held arrives late."""
    seconds = story.aside.uniform(3.5, 9)
    for socket in story.sockets:
        if socket.is_open and not socket.fault:
            story.world.hold_up(socket, seconds)
    return seconds + 5


def hides(story: Story) -> float:
    """All sockets fall silent where nothing is always active; at first nobody can ask."""
    for socket in story.sockets:
        story.world.sicken(socket.link, "mute")
    story.world.kite.rest = story.aside.choice(["ok", "5xx", "5xx"])
    return 18


def indices_stand(story: Story) -> float:
    """At the exchange, or in the stream alone; and quotes may not be had, or lack them."""
    world, kite = story.world, story.world.kite
    indices = [i.token for i in world.centre.machine.state.instruments if is_index(i.token)]
    if story.aside.random() < 0.6 and world.ticker.is_up:
        world.killed(world.ticker, 0.5)  # the next one does not know how they tick
        story.wait(story.aside.choice([1, 4]))
    match story.aside.choice(["exchange", "stream", "stream"]):
        case "exchange":
            world.exchange.stand(indices, world.true_utc_ns + S, world.true_utc_ns + 70 * S)
        case "stream":
            kite.frozen_ns = world.true_utc_ns
            kite.frozen = frozenset(indices) - set(SLOW.values())  # of these nobody could tell
    match story.aside.choice(["ok", "ok", "5xx", "lacking"]):
        case "5xx":
            kite.rest = "5xx"
        case "lacking":
            kite.lacking = indices[0] if indices else None
    world.alert(80)
    return 75


def comes_again(story: Story) -> float:
    """A program reads what nobody else does, leaves for longer than its wish lasts, and is back:
    by then the name is known, and it alone says that the instrument is wanted."""
    world = story.world
    wanted = world.centre.subscriptions.wanted()
    lacking = [key for key in story.basket.keys if key not in wanted]
    if lacking:
        key = story.aside.choice(lacking)
        world.reader.want(key)
        story.wait(3)
        world.reader.drop(key)
        story.wait(45)
        world.reader.want(key)
        world.alert(8)
    return 8


def settles(story: Story) -> float:
    """Nothing trades for a while, and quotes tell another price: one reconnect shows that it is of
    no use."""
    world, kite = story.world, story.world.kite
    for floor in world.exchange.all_floors:
        floor.pause(world.true_utc_ns + S, world.true_utc_ns + 200 * S)
    kite.more = 500
    count = len(story.sockets)
    before = kite.opened
    world.alert(190)
    story.wait(185)
    # Polling bridges meanwhile, and may come in the way of an attempt.
    require(kite.opened - before <= 2 * count, "a settlement price costs a socket once")
    kite.more = 0
    story.drop_all()  # what a quote has contradicted is stale until a packet
    return 20


def knocks(story: Story) -> float:
    """The market is closed, and nobody is let in."""
    story.world.kite.socket = story.rng.choice(["403", "502"])
    story.drop_all()
    return story.rng.uniform(60, 150)


# In the order in which neighbouring seeds go through them.
OF_A_KEY: tuple[Fault, ...] = (
    only_rest, late_reports, nobody_answers, plan_ends, crowded, session_dies, lid_closed,
    supervisor_crash, restarts_in_a_lull, one_hangs, torn_file,
)  # fmt: skip
OF_A_SOCKET: tuple[Fault, ...] = (mouth_restarts, falls_silent, half_open, wants)
OF_SEVERAL: tuple[Fault, ...] = (*OF_A_SOCKET, one_is_kept_out)
EVENING_THINGS: tuple[Fault, ...] = (*OF_A_SOCKET, only_rest, lid_closed, new_login)
CLOSED: tuple[Fault, ...] = (knocks, second_login, new_login, knocks, supervisor_crash)


def things(seed: int, rng: Random, *, is_sharded: bool) -> list[Fault]:
    """Return what happens on a day, in whatever order."""
    own = rng.sample(OF_SEVERAL, 4) if is_sharded else rng.sample(OF_A_SOCKET, 2)
    own.append(new_login)
    for n in range(THINGS - len(own)):
        own.append(OF_A_KEY[(4 * seed + n) % len(OF_A_KEY)])
    rng.shuffle(own)
    return own
