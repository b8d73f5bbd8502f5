"""ARCHITECTURE.md is kept in step with the code: its tables list what the code lists."""

import ast
import re
from pathlib import Path

from kitefeed.actors.supervisor import facts
from kitefeed.actors.supervisor.facts import DialState, SocketState
from kitefeed.actors.supervisor.moves import MOVES
from kitefeed.protocol.feed import HEARTBEAT_HOLDS_NS
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.topology import WIRES, Role

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below `heading`, without its head."""
    section = TEXT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    start = section.index("\n|") + 1
    lines = section[start:].split("\n\n", 1)[0].splitlines()
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_of_wires_is_the_one_in_the_code() -> None:
    assert rows("Wires") == [
        [
            wire.name,
            wire.path,
            wire.binder,
            f"{wire.binder_type}/{wire.peer_type}",
            wire.peers,
            f"{wire.binder_hwm}/{wire.peer_hwm}",
            wire.when_full,
        ]
        for wire in WIRES
    ]


def test_every_process_is_described() -> None:
    assert {row[0] for row in rows("Processes")} == set(Role)


def test_the_headlines_are_those_of_the_code_in_its_order_of_precedence() -> None:
    source = (ROOT / "actors/supervisor/headline.py").read_text("utf-8")
    body = source.split("def _feed(", 1)[1].split("\ndef ", 1)[0]
    returned = re.findall(r'return "(\w+)"', body)
    assert [row[0] for row in rows("The headline")] == returned


def test_every_state_of_the_link_is_described_in_the_order_of_the_code() -> None:
    assert [row[0] for row in rows("The link's states")] == [
        *DialState,
        SocketState.PRIMING,
        SocketState.LIVE,
    ]


def test_the_moves_of_an_attempt_are_printed_from_the_table() -> None:
    arrows: dict[tuple[DialState, DialState], list[str]] = {}
    for (before, news), move in MOVES.items():
        for after in move.to:
            if after is not before:
                arrows.setdefault((before, after), []).append(news.__name__)
    printed = "\n".join(
        f"{before:11} -> {after:11} {', '.join(sorted(arrows[before, after]))}"
        for before in DialState
        for after in DialState
        if (before, after) in arrows
    )
    assert f"```\n{printed}\n```" in TEXT, printed


def test_one_place_says_where_the_attempt_is() -> None:
    assigned = [
        path.name
        for path in (ROOT / "actors/supervisor").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Assign)
        for target in node.targets
        for part in (target.elts if isinstance(target, ast.Tuple) else [target])
        if ast.unparse(part) in ("dial.state", "s.dial.state", "self.state.dial.state")
    ]
    assert assigned == ["dial.py"]


def test_the_waits_are_those_of_the_code() -> None:
    ladder = ", ".join(f"{s:g}" for s in facts.NETWORK_LADDER_S)
    assert f"{ladder} s" in TEXT
    assert f"tried every {facts.SOCKET_REFUSED_RETRY_NS // NS_PER_S} s" in TEXT
    assert f"after {facts.BRIDGE_AFTER_NS // NS_PER_S} s without fresh data" in TEXT
    assert f"no attempt sooner than {facts.CLOSED_RETRY_NS // NS_PER_S} s" in TEXT
    assert f"{facts.CONNECT_LIMIT_NS // NS_PER_S} s" in TEXT
    assert f"closes no fence before it has heard them (or {facts.SETTLE_NS / NS_PER_S:g} s)" in TEXT
    assert f"{HEARTBEAT_HOLDS_NS / 1e9} s ago" in TEXT


def test_every_test_that_the_fault_table_names_exists() -> None:
    page = (ROOT / "docs/faults.md").read_text("utf-8")
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 35
    assert [name for name in named if f"def {name}(" not in tests] == []
    pairs = re.findall(r"^\| (\d+)(?:, (\d+))? \|", page, re.M)
    numbers = [int(n) for pair in pairs for n in pair if n]
    assert len(numbers) >= 40
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_folder_in_the_map_exists() -> None:
    section = TEXT.split("## Where to find what", 1)[1]
    folders = re.findall(r"^(\w+)/ ", section, re.M)
    assert len(folders) == 12
    assert all((ROOT / folder).is_dir() for folder in folders)
