"""Tests what programs may import from `kitefeed`, and that it says what it is."""

import inspect
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

import kitefeed
from kitefeed import AsyncFeed, Feed, KiteTicker, Status, Tick
from kitefeed.actors.supervisor import facts
from kitefeed.client import status, tick
from kitefeed.protocol.kite.ticks import MODE_NAMES

ROOT = Path(__file__).parents[3]
CLASSES = (Feed, AsyncFeed, Tick, KiteTicker)
RUPEES = re.compile(r"price|^(open|high|low|close|ohlc)$")


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, not those of `object`."""
    for name, member in inspect.getmembers(kind):
        if not name.startswith("_") and (callable(member) or isinstance(member, property)):
            yield name, member


def fields_of_status() -> dict[str, str]:
    """Return what its docstring says of each field: `name:` or `one, other:` in front."""
    found: dict[str, str] = {}
    text = inspect.getdoc(Status) or ""
    for line in re.split(r"\n(?=[\w, ]+: )", text):
        names, _, words = line.partition(":")
        found.update(dict.fromkeys(names.split(", "), words))
    return found


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    for name in kitefeed.__all__:
        assert getattr(kitefeed, name) is not None
    assert set(kitefeed._PLACES) | {"__version__", "kite"} == set(kitefeed.__all__)
    assert kitefeed.__all__ == sorted(kitefeed.__all__)


def listed(text: str) -> set[str]:
    """Return what the lists of a docstring are about: `- one, other: ...`."""
    return {
        name
        for line in re.findall(r"^- ([\w, ]+):", text, re.M)
        for name in line.split(", ")
    }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "documented"),
    [
        (Feed.__init__, Feed), (KiteTicker.__init__, KiteTicker),
        (kitefeed.Recording.__init__, kitefeed.Recording),
        (Feed.bars, Feed.bars), (Feed.subscribe, Feed.subscribe), (kitefeed.atm, kitefeed.atm),
        (kitefeed.expiries, kitefeed.expiries), (kitefeed.strikes, kitefeed.strikes),
        (kitefeed.wait, kitefeed.wait), (kitefeed.wait_async, kitefeed.wait_async),
    ],
)  # fmt: skip
def test_arguments_and_errors_are_lists_that_leave_none_out(
    function: Any, documented: object
) -> None:
    text = inspect.getdoc(documented) or ""
    arguments = set(inspect.signature(function).parameters) - {"self"}
    assert arguments - listed(text) == set()
    assert re.search(r"\nRaises:\n\n- \w+: ", text)


def test_whatever_a_docstring_says_is_raised_can_be_imported() -> None:
    texts = [inspect.getdoc(kind) or "" for kind in CLASSES]
    texts += [inspect.getdoc(member) or "" for kind in CLASSES for _, member in members(kind)]
    texts += [inspect.getdoc(getattr(kitefeed, name)) or "" for name in kitefeed.__all__]
    named = {
        name
        for text in texts
        for errors in re.findall(r"\nRaises:\n\n((?:- .*\n?|  .*\n?)+)", text)
        for name in listed(errors)
    }
    assert {"BadInput", "TryLater", "Unavailable", "ConfigError"} <= named
    errors = {
        name
        for text in texts
        for raised in re.findall(r"[Rr]aises (.*?)(?:\.\s|\.$|\n\n|$)", text, re.S)
        for name in re.findall(r"\b[A-Z][a-z]\w+\b", raised)
        if name not in ("Kite", "Afterwards", "KiteConnect")
    }
    errors |= named
    builtin = {"ImportError", "KeyError", "RuntimeError", "TokenException", "Feed"}
    assert errors - builtin <= set(kitefeed.__all__)


def test_whatever_a_public_method_returns_or_is_given_can_be_imported() -> None:
    own = set()
    for kind in (Feed, AsyncFeed, Tick):
        for _, member in members(kind):
            function = member.fget if isinstance(member, property) else member
            if not inspect.isfunction(function):
                continue
            text = " ".join(map(str, inspect.get_annotations(function).values()))
            own |= set(re.findall(r"kitefeed[\w.]*\.(\w+)", text))
    assert own - {"T", "TickBody"} <= set(kitefeed.__all__)
    assert {"Answer", "Depth", "Notice", "Ohlc", "Status", "Tick", "Heartbeat"} <= own


@pytest.mark.parametrize("kind", CLASSES)
def test_every_public_method_and_property_has_a_docstring(kind: type) -> None:
    assert [name for name, member in members(kind) if not inspect.getdoc(member)] == []
    assert inspect.getdoc(kind)


@pytest.mark.parametrize("kind", [Feed, AsyncFeed, Tick])
def test_a_docstring_says_the_unit_the_time_zone_and_what_none_means(kind: type) -> None:
    silent = []
    for name, member in members(kind):
        if not isinstance(member, property):
            continue
        kinds, text = returns(member), inspect.getdoc(member) or ""
        needed = {
            "None": type(None) in kinds,
            "IST": datetime in kinds,
            "econd": name.endswith(("_s", "_ns")),
            "upee": bool(RUPEES.search(name)) and "decimal" not in name,
        }
        silent += [f"{name}: {word}" for word, is_due in needed.items() if is_due
                   and word not in text]  # fmt: skip
    assert silent == []


def returns(member: property) -> set[object]:
    hint = get_type_hints(member.fget)["return"]
    return set(get_args(hint)) or {hint}


def test_every_field_of_the_status_is_explained_with_its_unit_and_what_none_means() -> None:
    told, hints = fields_of_status(), get_type_hints(Status)
    assert set(told) >= set(Status.__struct_fields__)
    for name in Status.__struct_fields__:
        if type(None) in get_args(hints[name]):
            assert "None" in told[name], name
        if name.endswith(("_s", "_ns")):
            assert "econd" in told[name], name
        if "utc" in name:
            assert "UTC" in told[name], name


@pytest.mark.parametrize("name", ["feed", "source", "session", "override"])
def test_the_words_of_the_status_are_a_closed_list_that_its_docstring_gives(name: str) -> None:
    words = get_args(get_type_hints(Status)[name])
    assert len(words) >= 4
    assert all(word in fields_of_status()[name] for word in words)


def test_the_closed_lists_are_those_of_the_supervisor() -> None:
    headline = (ROOT / "actors/supervisor/headline.py").read_text("utf-8")
    said = re.findall(r'return "(\w+)"', headline.split("def _feed(", 1)[1].split("\ndef ", 1)[0])
    assert set(get_args(status.FeedWord)) == {*said, "lost", "replay"}
    assert get_args(status.SessionWord) == get_args(facts.SessionWord)
    assert get_args(status.OverrideWord) == get_args(facts.Override)
    assert set(get_args(tick.ModeWord)) == {*MODE_NAMES.values(), "unknown"}
    assert set(get_args(get_type_hints(Tick.mode.fget)["return"])) == set(get_args(tick.ModeWord))


def test_every_attribute_of_a_kite_ticker_is_the_official_one_or_is_explained() -> None:
    official = pytest.importorskip("kiteconnect").KiteTicker("key", "token")
    ours = {name for name in vars(KiteTicker()) if not name.startswith("_")}
    text = inspect.getdoc(KiteTicker) or ""
    unknown = ours - set(vars(official)) - {"ws", "websocket_thread"}  # it has them later
    assert [name for name in unknown if name not in text] == []


def test_what_the_documents_say_a_program_may_use_is_there() -> None:
    pages = "\n".join(
        (ROOT / page).read_text("utf-8") for page in ("README.md", "docs/reading.md", "docs/faq.md")
    )
    of_package = set(re.findall(r"\bkitefeed\.(\w+)", pages)) - {"toml", "client", "protocol"}
    assert {name for name in of_package if not hasattr(kitefeed, name)} == set()
    of_feed = set(re.findall(r"\bfeed\.(\w+)", pages)) - {"feed", "tcp", "tcp_orders", "keys"}
    assert {name for name in of_feed if not hasattr(Feed, name)} <= {"sock", "endpoint"}
    of_tick = set(re.findall(r"\btick\.(\w+)", pages))
    assert {name for name in of_tick if not hasattr(Tick, name)} == set()
    assert {"atm", "wait", "expiries"} <= of_package
    assert {"on_order", "fileno", "orders", "subscribe", "wait"} <= of_feed
