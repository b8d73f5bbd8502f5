"""The parts of the benchmark: each measures, checks what it measured, and returns rows."""

from collections.abc import Callable, Iterator, Sequence
from subprocess import SubprocessError
from typing import NamedTuple, Protocol, TypeVar

from benchmarks.asked import Asked
from benchmarks.frames import Scheme, Shape
from benchmarks.peers import Peer
from benchmarks.processes import Daemon
from benchmarks.stage import PLAIN, Result, Stage, Way

T = TypeVar("T")
FAILURES_MAX = 2  # of a peer; then it is left out everywhere
# Died and WrongTick; a program that is not there; one that was given up.
TROUBLE = (RuntimeError, OSError, ValueError, SubprocessError)


class Failure(NamedTuple):
    """`text`: everything that is known; its first line is the cause."""

    where: str
    is_ours: bool
    text: str

    @property
    def line(self) -> str:
        first = self.text.splitlines()[0] if self.text else "no reason was given"
        return f"{self.where}: {first[:300]}"


class Context:
    """The things that every part is given."""

    def __init__(
        self,
        stage: Stage,
        peers: Sequence[Peer],
        reps: int,
        asked: Asked,
        say: Callable[[str], None],
    ) -> None:
        self.stage = stage
        self.peers = peers
        self.reps = reps
        self.asked = asked
        self.say = say
        self.failures: list[Failure] = []
        self.lost: list[str] = []  # by readers of ours, in a run that they had to take whole
        self._daemons: dict[Way, Daemon] = {}
        self._faults: dict[Peer, int] = {}

    @property
    def daemon(self) -> Daemon:
        """The plain one."""
        return self.daemon_of(PLAIN)

    def daemon_of(self, way: Way) -> Daemon:
        """The one with all instruments of the stage; started when it is first needed."""
        if way not in self._daemons:
            kind = "pure Python, " if way.is_pure else ""
            count = f"{len(self.stage.universe.all):,} instruments"
            self.say(f"starting the daemon with {count} ({kind}{way.scheme})")
            name = f"main{'pure' if way.is_pure else ''}{way.scheme}"
            self._daemons[way] = self.stage.daemon(name, self.stage.universe, way)
        return self._daemons[way]

    def use(self, daemon: Daemon) -> None:
        """One that runs already."""
        self._daemons[PLAIN] = daemon

    def has(self, peer: Peer) -> bool:
        return peer in self.peers and self._faults.get(peer, 0) < FAILURES_MAX

    def run(self, peer: Peer, shape: Shape, scheme: Scheme = "ws") -> Result:
        """One run of a peer. Raises TROUBLE."""
        daemon = self.daemon_of(Way(peer.is_pure, scheme)) if peer.is_ours else None
        return self.stage.run(peer, shape, self.stage.universe, daemon, scheme=scheme)

    def fail(self, where: str, peer: Peer | None, error: Exception) -> None:
        """Says it in one line; everything else goes on. No peer: it is ours."""
        if peer is not None:
            self._faults[peer] = self._faults.get(peer, 0) + 1
        failure = Failure(where, peer is None or peer.is_ours, str(error) or repr(error))
        self.failures.append(failure)
        self.say(f"FAILED {failure.line}")

    def lose(self, where: str, count: int) -> None:
        if count:
            self.lost.append(f"{where}: {count:,} ticks")
            self.say(f"LOST {self.lost[-1]}")


class Case(Protocol):
    """One row of runs: who takes part."""

    @property
    def name(self) -> str: ...

    @property
    def peers(self) -> Sequence[Peer]: ...


C = TypeVar("C", bound=Case)


def interleaved(
    context: Context, part: str, cases: Sequence[C], run: Callable[[C, Peer], T]
) -> dict[str, dict[Peer, list[T]]]:
    """Case -> peer -> one result per repetition. Everybody runs once before anybody runs again, and
    nobody is always the first. Who fails is out of that case, so the n-th results belong together.
    """
    results: dict[str, dict[Peer, list[T]]] = {case.name: {} for case in cases}
    for rep in range(context.reps):
        for case in cases:
            found = results[case.name]
            for peer in _turn(case.peers, rep):
                if not context.has(peer) or len(found.get(peer, ())) < rep:
                    continue
                where = f"{part}, {case.name}, {peer.title}"
                context.say(f"{where} ({rep + 1}/{context.reps})")
                try:
                    result = run(case, peer)
                except TROUBLE as error:
                    context.fail(where, peer, error)
                else:
                    found.setdefault(peer, []).append(result)
    return results


def _turn(peers: Sequence[Peer], rep: int) -> Iterator[Peer]:
    first = rep % len(peers) if peers else 0
    yield from peers[first:]
    yield from peers[:first]
