"""Lets things go wrong: with sessions, with Kite and the way to it, with this machine. Each fault
harms the world of a story and returns how long that lasts, in seconds; `Story.heal` ends them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast, get_args

from kitefeed.actors.supervisor.facts import Override
from kitefeed.protocol.messages.control import DropInstruments, Retry, SetSource, WantInstruments
from tests.simulation.exchange import MORE, S
from tests.simulation.kite import DROPPED, RestMode, SocketMode

if TYPE_CHECKING:
    from tests.simulation.story import Story

Fault = Callable[["Story"], float]
ROLES = ("ticker", "poller", "validator", "watcher", "mouth")


# --- faults: sessions -----------------------------------------------------------------------------


def second_login(story: Story) -> float:
    """Somebody logs in elsewhere: our token is dead, our socket streams on."""
    story.login(by_file=False)
    if story.rng.random() < 0.5:
        story.drop_all()
    return story.rng.uniform(5, 150)


def new_login(story: Story) -> float:
    story.login(by_file=True)
    return story.rng.uniform(0, 5)


def bad_login(story: Story) -> float:
    """A session file with a token that never lived."""
    fingerprint = f"bad{story.world.number()}"
    story.world.files["primary"] = (fingerprint, None)
    story.world.kite.accounts[fingerprint] = story.world.kite.login("standby")
    story.world.kite.accounts[fingerprint].is_alive = False
    return story.rng.uniform(5, 100)


def logout(story: Story) -> float:
    story.world.files["primary"] = (None, None)
    return story.rng.uniform(1, 60)


def torn_file(story: Story) -> float:
    kept = story.world.files["primary"][0]
    story.world.files["primary"] = (None, "the session file is damaged: `kitefeed login --paste`")
    seconds = story.rng.uniform(0.3, 20)

    def mend() -> None:
        if story.world.files["primary"][0] is None:
            story.world.files["primary"] = (kept, None)

    story.world.after(seconds, mend)
    return seconds


def standby_dies(story: Story) -> float:
    story.login("standby", by_file=False)
    return second_login(story)


def plan_lost(story: Story) -> float:
    for account in story.world.kite.accounts.values():
        account.has_data = False
    story.drop_all()
    return story.rng.choice([30.0, 300.0, 2_000.0])


# --- faults: Kite and the way to it ---------------------------------------------------------------


def blind_login(story: Story) -> float:
    """A new login while nobody can ask Kite whether it is good."""
    story.world.kite.rest = story.rng.choice(["down", "5xx", "html", "hang", "hang"])
    story.login(by_file=True)
    if story.aside.random() < 0.5:
        story.drop_all()
    return story.rng.uniform(5, 60)


def socket_refused(story: Story) -> float:
    """Storms of 403, 429, 502, or accepts that take too long."""
    kite = story.world.kite
    kite.socket = story.rng.choice(get_args(SocketMode)[1:])
    if story.rng.random() < 0.8:
        story.drop_all()
    return story.rng.choice([5.0, story.rng.uniform(20, 200), 600.0])


def storm(story: Story) -> float:
    """The session is good and the socket is refused, for minutes."""
    story.world.kite.socket = "403"
    story.drop_all()
    return story.rng.uniform(40, 200)


def crowded(story: Story) -> float:
    """Other programs of the same key hold its sockets."""
    story.world.kite.ghosts = 3
    story.drop_all()
    return story.rng.uniform(5, 120)


def rest_trouble(story: Story) -> float:
    kite = story.world.kite
    kite.rest = story.rng.choice(get_args(RestMode)[1:])
    if story.rng.random() < 0.6:
        story.drop_all()
    return story.rng.uniform(2, 120)


def network_lost(story: Story) -> float:
    kite = story.world.kite
    kite.net = story.rng.choice(["down", "silent"])
    for socket in story.sockets:
        if kite.net == "silent":
            story.world.sicken(socket.link, "half_open")
    if kite.net == "down":
        story.drop_all()
    return story.rng.choice([1.0, story.rng.uniform(5, 60), 400.0])


def half_open(story: Story) -> float:
    for socket in story.sockets:
        story.world.sicken(socket.link, "half_open")
    return story.rng.uniform(0, 20)


def mute(story: Story) -> float:
    """Heartbeats, and no ticks behind them."""
    for socket in story.sockets:
        story.world.sicken(socket.link, "mute")
    return story.rng.uniform(0, 20)


def closed_by_peer(story: Story) -> float:
    code, reason = story.rng.choice([(1000, ""), (1001, "going away"), (1006, DROPPED),
                                     (1011, "internal error"), (4001, "bye")])  # fmt: skip
    for _ in range(story.rng.choice([1, 1, 3])):
        story.drop_all(code, reason)
        story.wait(story.rng.uniform(0.1, 4))
    return 0


def slow_kite(story: Story) -> float:
    """Everything takes seconds; often only REST is left."""
    story.world.kite.latency_s = story.rng.uniform(3, 9)
    if story.rng.random() < 0.6:
        story.world.kite.socket = "502"
    story.drop_all()
    return story.rng.uniform(25, 90)


def wants(story: Story) -> float:
    """Programs and the operator come and go."""
    world, rng = story.world, story.rng
    keys = list(world.basket.keys)
    for _ in range(6):
        wanted = world.centre.subscriptions.wanted() if world.centre.machine else ()
        lacking = [key for key in keys if key not in wanted]
        key = rng.choice(lacking if lacking and rng.random() < 0.5 else keys)
        match rng.choice(["want", "want", "drop", "subscribe", "unsubscribe"]):
            case "want":
                world.reader.want(key)
            case "drop":
                world.reader.drop(key)
            case _ if not world.centre.is_running:
                pass
            case "subscribe":
                world.centre.operate(WantInstruments((key,), wait_s=2))
            case "unsubscribe":
                world.centre.operate(DropInstruments((key,)))
        story.wait(rng.choice([0.1, rng.uniform(0, 5), 35.0]))
    return 0


def one_socket(story: Story) -> float:
    """One of several is lost, or dies silently; and perhaps nobody is let in again."""
    world, rng = story.world, story.rng
    if story.sockets:
        socket = rng.choice(story.sockets)
        if rng.random() < 0.6:
            world.ticker.drop(socket.link, 1006, DROPPED)
        else:
            world.sicken(socket.link, "half_open")
    if rng.random() < 0.6:
        world.kite.socket = rng.choice(["403", "403", "502", "slow"])
    return rng.choice([0.0, rng.uniform(5, 120)])


def one_mute(story: Story) -> float:
    """One of several sends heartbeats only, while the others tick."""
    if story.sockets:
        socket = story.rng.choice([story.sockets[-1], story.rng.choice(story.sockets)])
        story.world.sicken(socket.link, "mute")
        story.world.alert(20)
        story.wait(20)
    return 0


def half_crowded(story: Story) -> float:
    """Another program of the same key takes a socket that we have lost."""
    story.world.kite.ghosts = story.rng.choice([1, 2])
    if story.rng.random() < 0.5 or not story.sockets:
        story.drop_all()
    else:
        story.world.ticker.drop(story.rng.choice(story.sockets).link, 1006, DROPPED)
    if story.rng.random() < 0.3:
        story.login(by_file=True)
    return story.rng.uniform(5, 150)


def rubbish(story: Story) -> float:
    for socket in [socket for socket in story.sockets if socket.fault != "half_open"]:
        for payload in (b"", b"\0\2\0\10\0", b"\0\1\0\3abc", b"\xff" * 40):
            story.world.ticker.frame(socket.link, payload)
        for text in (b"[1,2]", b"{", b'{"type":"error","data":"x"}', b'{"type":"app_code"}'):
            story.world.ticker.frame(socket.link, text, is_binary=False)
    return 0


# --- faults: this machine -------------------------------------------------------------------------


def suspend(story: Story) -> float:
    story.world.suspend(story.rng.choice([3.0, 20.0, story.rng.uniform(60, 900)]))
    return 0


def clock_steps(story: Story) -> float:
    """The wall clock is set wrong, and later right again."""
    world = story.world
    world.has_stepped = True
    world.step_ns = int(story.rng.choice([-7_200, -90, -3, 4, 90, 3_600]) * S)
    seconds = story.rng.uniform(2, 90)

    def right() -> None:
        world.step_ns = 0
        world.observer.shaken()

    world.after(seconds, right)
    return seconds


def crash(story: Story) -> float:
    for name in story.rng.choice([["mouth"], story.rng.sample(ROLES, 2), list(ROLES)]):
        host = getattr(story.world, name)
        if host.is_up:
            story.world.killed(host, story.rng.uniform(0.5, 3))
    return 3


def hang(story: Story) -> float:
    """A process stands still: shortly, or until it is killed for it."""
    host = getattr(story.world, story.rng.choice(ROLES))
    seconds = story.rng.choice([1.0, 4.0, 9.0])
    story.world.freeze(host, seconds)
    return seconds


def supervisor_crash(story: Story) -> float:
    """In the middle of whatever it does next."""
    centre = story.world.centre
    if centre.is_running:
        centre.crash_in = story.rng.randint(1, 12)
        if story.rng.random() < 0.6:
            story.drop_all()
        story.wait(story.rng.uniform(0, 15))
        if centre.crash_in and centre.is_running:
            story.world.killed(centre, 1)
    return 3


def supervisor_hang(story: Story) -> float:
    story.world.freeze(story.world.centre, story.rng.choice([1.0, 4.0, 8.0]))
    if story.rng.random() < 0.5:
        story.drop_all()
    return 8


def bus_trouble(story: Story) -> float:
    """Reports come late, and old ones again, while sockets and logins come and go."""
    world, rng = story.world, story.rng
    world.bus_delay_s = (0.01, rng.choice([0.3, 1.0, 2.0]))
    world.is_echoing = True
    for _ in range(rng.choice([1, 3, 5])):
        world.kite.socket = rng.choice(["ok", "ok", "403", "502"])
        match rng.choice(["drop", "drop", "new", "bad"]):
            case "drop":
                story.drop_all()
            case "new":
                new_login(story)
            case "bad":
                bad_login(story)
        world.alert(8)
        story.wait(rng.uniform(1, 9))
    world.kite.socket = "ok"
    return rng.uniform(0, 10)


def operator(story: Story) -> float:
    world, rng = story.world, story.rng
    keys = [key for key in world.basket.keys if key not in MORE]
    for _ in range(rng.choice([1, 2, 3])):
        if not world.centre.is_running:
            break
        match rng.choice(["source", "source", "retry", "subscribe", "unsubscribe", "program"]):
            case "source":
                choices = cast("tuple[Override, ...]", (*get_args(Override), "paused", "paused"))
                world.centre.operate(SetSource(rng.choice(choices)))
            case "retry":
                world.centre.operate(Retry())
            case "subscribe":
                key = rng.choice([*keys, "NSE:NOPE"])
                mode = rng.choice([None, "ltp", "full"])
                world.centre.operate(WantInstruments((key,), mode, wait_s=2))  # type: ignore[arg-type]
            case "unsubscribe":
                world.centre.operate(DropInstruments((rng.choice(keys),)))
            case "program":
                key = rng.choice(keys)
                rng.choice([world.reader.want, world.reader.drop])(key)
        story.wait(rng.uniform(0, 5))
    return rng.choice([0.0, rng.uniform(5, 100)])


# In the order in which neighbouring seeds go through them; what is rich in coincidences is there
# more than once.
FAULTS: tuple[Fault, ...] = (
    bus_trouble, second_login, storm, new_login, half_open, bad_login, crash, bus_trouble, mute,
    logout, rest_trouble, suspend, torn_file, supervisor_crash, slow_kite, standby_dies,
    bus_trouble, plan_lost, blind_login, hang, socket_refused, operator, crash, crowded,
    bus_trouble, rest_trouble, network_lost, supervisor_hang, suspend, crash, closed_by_peer,
    rubbish, clock_steps, operator, mute, bus_trouble, supervisor_crash, blind_login, suspend,
    bus_trouble, slow_kite, storm,
)  # fmt: skip
# What each bad quarter of a day with several sockets has besides.
OF_SHARDS: tuple[Fault, ...] = (
    one_socket, one_mute, one_mute, half_crowded, wants, crash, new_login,
)  # fmt: skip
