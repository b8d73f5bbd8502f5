"""Random one-line mutants of what decides: `python -m tests.mutants --n 200 --seed 1`.

Each mutant is one changed expression in one pure module, in a copy of the project. The unit tests
of its folder run against it, then some simulated days, the properties, and all unit tests. What
none of them finds is printed: a test that is missing, or a change that changes nothing.
"""

import argparse
import ast
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.unit.test_structure import ROOT, Module, pure_modules

# A mutant that never ends is found, too: when it takes so many times what the sound project takes,
# on a machine that may be busier than it was then.
PATIENCE, WITHIN_S_MIN, WITHIN_S_MAX = 10, 60.0, 1800.0
_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}


def changed(node: ast.AST) -> ast.AST | None:
    """Return what `node` becomes; None where there is nothing to change."""
    match node:
        case ast.Compare(left, [op, *ops], compared) if type(op) in _COMPARED:
            return ast.Compare(left, [_COMPARED[type(op)](), *ops], compared)
        case ast.BoolOp(op, values):
            return ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not(), operand):
            return operand
        case ast.BinOp(left, op, right) if type(op) in _COMPUTED:
            return ast.BinOp(left, _COMPUTED[type(op)](), right)
        case ast.IfExp(test, body, orelse):
            return ast.IfExp(test, orelse, body)
        case ast.Constant(bool() as value):
            return ast.Constant(not value)
        case ast.Constant(int() as value):
            return ast.Constant(value + 1)
        case ast.Expr(ast.Call()) | ast.AugAssign():
            return ast.Pass()
        case _:
            return None


def places(module: Module) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Each node that can be changed, on one line, with what it becomes; annotations are none, nor
    are options of classes: without `frozen` or `slots` the same is decided."""
    left = {
        id(child)
        for node in ast.walk(module.tree)
        for part in (
            getattr(node, "annotation", None), getattr(node, "returns", None),
            *(node.decorator_list + node.keywords if isinstance(node, ast.ClassDef) else ()),
        )
        if part is not None
        for child in ast.walk(part)
    }  # fmt: skip
    for node in ast.walk(module.tree):
        other = changed(node) if id(node) not in left else None
        if other is not None and node.lineno == node.end_lineno:  # type: ignore[attr-defined]
            yield node, other


def mutated(source: str, node: ast.AST, other: ast.AST) -> tuple[str, str]:
    """The changed source, and the line as it was and is."""
    lines = source.splitlines(keepends=True)
    at = node.lineno - 1  # type: ignore[attr-defined]
    line = lines[at].encode()  # offsets are in bytes
    text = ast.unparse(ast.fix_missing_locations(other))
    is_inner = isinstance(node, ast.expr)
    new = f"({text})" if is_inner and not isinstance(other, ast.Constant) else text
    start, end = node.col_offset, node.end_col_offset  # type: ignore[attr-defined]
    lines[at] = (line[:start] + new.encode() + line[end:]).decode()
    return "".join(lines), f"- {line.decode().strip()}\n    + {lines[at].strip()}"


def copy_project(where: Path) -> None:
    """Every file that git knows, as it is now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()  # fmt: skip
    for name in filter(None, listed.split("\0")):
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, where / name, follow_symlinks=False)


def stages_of(module: Module, days: int) -> dict[str, list[str]]:
    """Return what may find a mutant of `module`, the quickest first: a name, and the command."""
    folder = Path("tests/unit") / module.path.relative_to(ROOT).parent
    own = folder / f"test_{module.path.stem}.py"
    while not (ROOT / folder).is_dir():  # as tests/unit/services, for a service with one test file
        folder = folder.parent
    python = [sys.executable, "-B", "-m"]
    pytest = [*python, "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    stages = {"own tests": [*pytest, str(own)]} if (ROOT / own).exists() else {}
    return {
        **stages,
        "unit tests": [*pytest, str(folder)],
        "days": [*python, "tests.simulation.days", "--days", str(days)],
        "properties": [*pytest, "tests/property"],
        "all unit tests": [*pytest, "tests/unit"],
    }


def finding(command: list[str], where: Path, within_s: float) -> str:
    """Return what `command` says of a project that is not sound, on a line; nothing of a
    sound one."""
    environment = {**os.environ, "PYTHONPATH": str(where)}
    try:
        done = subprocess.run(
            command, cwd=where, env=environment, capture_output=True, text=True, timeout=within_s,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no end within {within_s:.0f} s"
    said = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "" if done.returncode == 0 else (said or [f"exit code {done.returncode}"])[0][:150]


class Trial(NamedTuple):
    """A mutant that was tried: its name, and by which stage it was found and what that said."""

    name: str
    by: str
    why: str


class Trials:
    """Tries mutants, each core one at a time, in a copy of the project of its own."""

    def __init__(self, directory: Path, days: int) -> None:
        self._days = days
        self._within_s: dict[str, float] = {}  # by command, once the sound project has passed it
        self._copies = SimpleQueue[Path]()
        for number in range(os.cpu_count() or 1):
            copy_project(directory / str(number))
            self._copies.put(directory / str(number))

    def run(self, module: Module, node: ast.AST, other: ast.AST) -> Trial:
        """Raises SystemExit where the sound project fails a stage."""
        where = self._copies.get()
        try:
            return self._run(where, module, node, other)
        finally:
            self._copies.put(where)

    def _run(self, where: Path, module: Module, node: ast.AST, other: ast.AST) -> Trial:
        stages = stages_of(module, self._days)
        for command in stages.values():
            self._pass(command, where)
        path = where / module.path.relative_to(ROOT)
        source = path.read_text("utf-8")
        text, what = mutated(source, node, other)
        path.write_text(text, "utf-8")
        try:
            name = f"{module.name}:{node.lineno}\n    {what}"  # type: ignore[attr-defined]
            for by, command in stages.items():
                if why := finding(command, where, self._within_s[str(command)]):
                    return Trial(name, by, why)
            return Trial(name, "nobody", "")
        finally:
            path.write_text(source, "utf-8")

    def _pass(self, command: list[str], where: Path) -> None:
        """Let the sound project pass it: once, or by two at a time once each."""
        if str(command) in self._within_s:
            return
        begun_s = time.monotonic()
        if why := finding(command, where, WITHIN_S_MAX):
            sys.exit(f"without any change this fails: {' '.join(command[3:])}: {why}")
        took_s = time.monotonic() - begun_s
        self._within_s[str(command)] = max(WITHIN_S_MIN, PATIENCE * took_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=20, help="simulated days for each")
    parser.add_argument("--skip", type=int, default=0, help="so many of these, tried before")
    parser.add_argument("--only", default="", help="of modules whose name contains this")
    options = parser.parse_args()
    modules = [each for each in pure_modules() if options.only in each.name]
    everything = [(module, *place) for module in modules for place in places(module)]
    tried = Random(options.seed).sample(everything, min(options.n, len(everything)))[options.skip :]
    found = Counter[str]()
    with TemporaryDirectory() as directory, ThreadPoolExecutor(os.cpu_count()) as pool:
        trials = Trials(Path(directory), options.days)
        ends = as_completed([pool.submit(trials.run, *each) for each in tried])
        try:
            for trial in (end.result() for end in ends):
                found[trial.by] += 1
                told = f"{found.total()} of {len(tried)}: {dict(found)} {trial.why}"
                print(told, file=sys.stderr, flush=True)
                if trial.by == "nobody":
                    print(trial.name, flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    caught = found.total() - found.pop("nobody", 0)
    print(f"{caught} of {len(tried)} were found: {dict(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
