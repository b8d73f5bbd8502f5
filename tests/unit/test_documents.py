"""Links in the documents lead somewhere, and nothing that can be set or typed is missing."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest

from kitefeed.actors.runtime.config_tables import Config
from kitefeed.cli.main import SUMMARIES, cli

ROOT = Path(__file__).parents[2]
TYPED = re.compile(r"`(?:[A-Z_]+=\S+ )*kitefeed ([a-z][^`]*)`")
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_of_a_document_lead_somewhere(document: Path) -> None:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_the_readme_is_a_page_that_one_reads() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 130


def settings(table: type[msgspec.Struct], before: str = "") -> Iterator[str]:
    """The dotted names of all of them."""
    for field in msgspec.structs.fields(table):
        name = f"{before}{field.name}"
        tables = [
            each for each in (field.type, *get_args(field.type))
            if isinstance(each, type) and issubclass(each, msgspec.Struct)
        ]  # fmt: skip
        if not tables:
            yield name
        for each in tables:
            yield from settings(each, f"{name}.")


def test_every_setting_is_explained() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row[0])}
    for row in rows:  # a whole table in one row names its settings in the text
        (first,) = re.findall(r"`([^`]+)`", row[0])[:1]
        named |= {f"{first}.{name}" for name in re.findall(r"`(\w+)`", row[-1])}
    assert set(settings(Config)) - named == set()


def test_every_command_is_explained() -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    rows = "\n".join(line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `"))
    named = {name.split()[0] for name in re.findall(r"`([^`]+)`", rows)}
    assert SUMMARIES.keys() - named == set()


def unknown(typed: str) -> list[str]:
    """Return the parts of a command, as a document shows it, that are neither a command nor an
    option of it."""
    found: list[str] = []
    command: click.Command = cli
    options = {"--help"}
    for word in re.split(r"[\s\[\]|,]+", typed):
        options |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        if word.startswith("--"):
            found += [word] if word not in options else []
        elif isinstance(command, click.Group):
            inner = command.get_command(click.Context(command), word)
            found += [word] if inner is None and command is cli else []
            command = inner or command
    return found


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, *(ROOT / "examples").glob("*.ipynb")], ids=lambda path: path.name
)
def test_every_command_and_option_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text("utf-8")
    named = [re.sub(r"\s+", " ", each) for each in TYPED.findall(text)]
    assert {each: unknown(each) for each in named if unknown(each)} == {}
