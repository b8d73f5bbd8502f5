"""The directions of imports, and the one place each for what a process shares with the world."""

import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from kitefeed.services.table import SERVICES

ROOT = Path(__file__).parents[2]
FOLDERS = ("protocol", "_hot", "client", "actors", "services", "cli", "kite_server", "simulator")
ACTORS = (
    "supervisor", "broadcaster", "ticker", "rest_poller", "token_validator", "auth_watcher",
)  # fmt: skip
# Decides, and is given what it decides about; so does every `machine.py`.
DECIDING = (
    "kitefeed.actors", "kitefeed.client",
    "kitefeed.services.nats_bridge.lease",
    "kitefeed.services.notifier.alerts", "kitefeed.services.notifier.conditions",
)  # fmt: skip
# But here clocks, files, sockets, threads and logs are touched.
SHELLS = (
    "kitefeed.actors.runtime",
    *(f"kitefeed.actors.{actor}.process" for actor in ACTORS),
    "kitefeed.actors.broadcaster.cutter",
    "kitefeed.actors.broadcaster.tcp_feed",
    "kitefeed.actors.rest_poller.dump",
    "kitefeed.actors.supervisor.listings",
    "kitefeed.actors.supervisor.setup",
    "kitefeed.actors.ticker.kite_socket",
    "kitefeed.actors.ticker.reactor",
    "kitefeed.actors.ticker.tls",
    "kitefeed.client.bar_history",
    "kitefeed.client.bar_stream",
    "kitefeed.client.callbacks",
    "kitefeed.client.chain",
    "kitefeed.client.batches",  # it, `columns` and `frames` import what not everybody has
    "kitefeed.client.choosing",
    "kitefeed.client.columns",
    "kitefeed.client.export",
    "kitefeed.client.feed",
    "kitefeed.client.feed_async",
    "kitefeed.client.forked",
    "kitefeed.client.frames",
    "kitefeed.client.history",
    "kitefeed.client.kite_run",
    "kitefeed.client.kite_subscriptions",
    "kitefeed.client.kite_ticker",
    "kitefeed.client.nats_answers",
    "kitefeed.client.nats_endpoint",
    "kitefeed.client.nats_link",
    "kitefeed.client.nats_past",
    "kitefeed.client.nats_store",
    "kitefeed.client.nats_wire",
    "kitefeed.client.options",
    "kitefeed.client.reader",
    "kitefeed.client.readings",
    "kitefeed.client.recording",
    "kitefeed.client.reports",
    "kitefeed.client.segments",
    "kitefeed.client.several",
    "kitefeed.client.telling",
    "kitefeed.client.tick",  # reads the clock for who asks for an age without a time
    "kitefeed.client.upstream",
    "kitefeed.client.watch",
)
PURE_RUNTIME = ("kitefeed.actors.runtime.membership",)
# Each has a loop of its own, compiled, and the same in Python.
TWINS = (
    "kitefeed.protocol.kite.repack",
    "kitefeed.actors.broadcaster.store",
    "kitefeed.actors.broadcaster.ticks",
    "kitefeed.client.values",
    "kitefeed.client.view",
)
# What the rest may import: values, and what computes with them.
VALUES = (
    "collections", "contextlib", "dataclasses", "datetime", "decimal", "difflib", "enum",
    "functools", "hashlib", "itertools", "math", "numbers", "operator", "re", "struct", "tomllib",
    "typing", "msgspec", "kitefeed._hot",
    "kitefeed.protocol.errors", "kitefeed.protocol.feed", "kitefeed.protocol.kite",
    "kitefeed.protocol.messages", "kitefeed.protocol.nats", "kitefeed.protocol.recording",
    "kitefeed.protocol.tick_bodies", "kitefeed.protocol.topics", "kitefeed.protocol.topology",
    "kitefeed.client.tick",
)  # fmt: skip
ACTS = {"open", "print", "input", "breakpoint", "exec", "eval", "compile", "__import__"}


class Module(NamedTuple):
    """A source file under the name it is imported by."""

    name: str
    path: Path
    tree: ast.Module


@cache
def modules() -> tuple[Module, ...]:
    links = ROOT / "kitefeed"  # `rglob` follows none, so each is followed here
    return tuple(
        _module(path, links / folder)
        for folder in FOLDERS
        for path in (links / folder).resolve().rglob("*.py")
    )


def _module(path: Path, link: Path) -> Module:
    inside = path.relative_to(link.resolve()).with_suffix("").parts
    name = ".".join(("kitefeed", link.name, *inside))
    tree = ast.parse(path.read_text("utf-8"), str(path))
    return Module(name.removesuffix(".__init__"), path, tree)


def imports(module: Module) -> Iterator[str]:
    """Every imported name, those inside functions and under TYPE_CHECKING included."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def attributes(module: Module) -> set[str]:
    """`os.environ`, `time.time` and the like: every dotted access to a plain name."""
    return {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


def belongs(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def offenders(package: str, forbidden: tuple[str, ...], *, but: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{module.name} imports {name}"
        for module in modules()
        if belongs(module.name, package) and not any(belongs(module.name, b) for b in but)
        for name in imports(module)
        if any(belongs(name, f) for f in forbidden)
    ]


def users_of(names: set[str]) -> set[str]:
    """Modules that touch one of these attributes."""
    return {module.name for module in modules() if attributes(module) & names}


def test_the_wire_formats_of_kite_import_the_standard_library_msgspec_and_loops_only() -> None:
    allowed = ("msgspec", "kitefeed.protocol.kite", "kitefeed._hot")
    third_party = ("zmq", "aiohttp", "kiteconnect", "click", "rich", "supervisor", "kitefeed")
    found = [
        f"{module.name} imports {name}"
        for module in modules()
        if belongs(module.name, "kitefeed.protocol.kite")
        for name in imports(module)
        if any(belongs(name, t) for t in third_party) and not any(belongs(name, a) for a in allowed)
    ]
    assert found == []


def test_only_the_modules_of_sockets_and_the_client_import_zmq() -> None:
    sockets = {"kitefeed.protocol.sockets", "kitefeed.protocol.loop_socket"}
    users = {m.name for m in modules() if any(belongs(name, "zmq") for name in imports(m))}
    assert users <= {*sockets, "kitefeed.client.reader"}


def test_protocol_imports_nothing_above_it() -> None:
    above = tuple(f"kitefeed.{f}" for f in FOLDERS if f not in ("protocol", "_hot"))
    assert offenders("kitefeed.protocol", above) == []


def test_the_compiled_loops_are_used_by_their_twins_and_told_of_by_name() -> None:
    """So whatever runs without them runs the twin of each."""
    loops = "kitefeed._hot.loops"
    users = {m.name for m in modules() if any(belongs(name, loops) for name in imports(m))}
    assert users == {"kitefeed._hot", *TWINS}
    assert offenders("kitefeed._hot", ("kitefeed",), but=()) == [
        "kitefeed._hot imports kitefeed.protocol.location.is_pure_forced",
        "kitefeed._hot imports kitefeed._hot.loops",
    ]


def test_what_programs_import_knows_the_protocol_the_loops_and_nothing_else_of_ours() -> None:
    """So `pip install kitefeed` without the daemon's packages is enough for a program."""
    ours = ("protocol", "_hot", "client")
    others = tuple(f"kitefeed.{each}" for each in FOLDERS if each not in ours)
    assert offenders("kitefeed.client", others) == []


def test_actors_do_not_import_what_programs_import() -> None:
    assert offenders("kitefeed.actors", ("kitefeed.client", "kitefeed.services")) == []


def test_services_know_of_the_actors_only_how_a_process_lives() -> None:
    """They read and ask as any program may; the six never learn of them."""
    decided = tuple(f"kitefeed.actors.{actor}" for actor in ACTORS)
    assert offenders("kitefeed.services", (*decided, "kitefeed.simulator")) == []


def test_no_service_imports_another_service() -> None:
    found = [
        f"{module.name} imports {name}"
        for module in modules()
        for service in SERVICES
        if belongs(module.name, f"kitefeed.services.{service}")
        for name in imports(module)
        for other in SERVICES
        if other != service and belongs(name, f"kitefeed.services.{other}")
    ]
    assert found == []


def test_each_service_is_a_row_a_folder_and_a_program() -> None:
    folders = {path.parent.name for path in (ROOT / "services").glob("*/process.py")}
    conf = ConfigParser(interpolation=None)
    conf.read(ROOT / "supervisor.conf")
    programs = {
        section.removeprefix("program:"): conf[section]["command"]
        for section in conf.sections()
        if section.startswith("program:")
    }
    assert folders == set(SERVICES)
    assert programs == {
        **{actor: f"kitefeed actor {actor}" for actor in ACTORS},
        **{service: f"kitefeed service {service}" for service in SERVICES},
    }
    assert set(conf["group:kitefeed"]["programs"].split(",")) == set(programs)


@pytest.mark.parametrize("actor", ACTORS)
def test_no_actor_imports_another_actor(actor: str) -> None:
    others = tuple(f"kitefeed.actors.{other}" for other in ACTORS if other != actor)
    assert offenders(f"kitefeed.actors.{actor}", others) == []


def test_what_actors_share_imports_no_actor() -> None:
    actors = tuple(f"kitefeed.actors.{actor}" for actor in ACTORS)
    assert offenders("kitefeed.actors.policy", (*actors, "kitefeed.actors.runtime")) == []
    assert offenders("kitefeed.actors.runtime", actors) == []


def test_actors_do_not_import_the_simulator() -> None:
    assert offenders("kitefeed.actors", ("kitefeed.simulator",)) == []


@pytest.mark.parametrize(
    ("package", "known"),
    [
        ("kitefeed.kite_server", ("kitefeed.protocol.kite",)),
        ("kitefeed.simulator", ("kitefeed.protocol.kite", "kitefeed.kite_server")),
    ],
)
def test_who_speaks_for_kite_knows_its_formats_and_nothing_else_of_ours(
    package: str, known: tuple[str, ...]
) -> None:
    others = [
        f"{module.name} imports {name}"
        for module in modules()
        if belongs(module.name, package)
        for name in imports(module)
        if belongs(name, "kitefeed") and not any(belongs(name, k) for k in (package, *known))
    ]
    assert others == []


def test_nothing_imports_the_command_line_but_itself() -> None:
    assert offenders("kitefeed", ("kitefeed.cli",), but=("kitefeed.cli",)) == []


def test_nothing_that_is_shipped_imports_the_benchmarks_or_the_tests() -> None:
    assert offenders("kitefeed", ("benchmarks", "tests")) == []


def pure_modules() -> list[Module]:
    return [
        module
        for module in modules()
        if module.path.name == "machine.py" or any(belongs(module.name, each) for each in DECIDING)
        if module.name in PURE_RUNTIME or not any(belongs(module.name, s) for s in SHELLS)
        if module.path.name != "__init__.py"
    ]


def test_what_decides_imports_nothing_that_acts() -> None:
    """An allow-list: a clock, a file or a log that nobody thought of is none of these either."""
    pure = tuple(module.name for module in pure_modules())
    found = [
        f"{module.name} imports {name}"
        for module in pure_modules()
        for name in imports(module)
        if not any(belongs(name, allowed) for allowed in (*VALUES, *pure))
    ]
    assert found == []


def test_what_decides_calls_nothing_that_acts() -> None:
    found = [
        f"{module.name} calls {call.func.id}"
        for module in pure_modules()
        for call in calls(module)
        if isinstance(call.func, ast.Name) and call.func.id in ACTS
    ]
    assert found == []


def test_every_shell_is_there_and_machines_are_none() -> None:
    names = {module.name for module in modules()}
    assert [shell for shell in SHELLS if shell not in names] == []
    machines = {module.name for module in modules() if module.path.name == "machine.py"}
    assert machines <= {module.name for module in pure_modules()}


def test_imports_are_absolute_through_the_package_name() -> None:
    relative = [
        module.name
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    bare = [
        f"{module.name} imports {name}"
        for module in modules()
        for name in imports(module)
        if name.split(".")[0] in (*FOLDERS, "hot")
    ]
    assert relative == []
    assert bare == []


def test_settings_come_from_the_environment_in_one_module() -> None:
    writers = {
        "kitefeed.cli.environment",  # writes it for children
        "kitefeed.actors.runtime.locks",  # asks whether supervisord is the parent
    }
    readers = users_of({"os.environ", "os.getenv", "os.environb"})
    assert readers <= {"kitefeed.protocol.location", *writers}


def test_clocks_are_read_in_one_module() -> None:
    clocks = {
        f"time.{name}{unit}"
        for name in ("time", "monotonic", "perf_counter", "clock_gettime", "process_time")
        for unit in ("", "_ns")
    }
    clocks |= {f"datetime.{name}" for name in ("now", "utcnow", "today")} | {"date.today"}
    own = "kitefeed.simulator.server"  # a program apart, which imports nothing but wire formats
    assert users_of(clocks) <= {"kitefeed.protocol.clock", own}


def test_signals_are_handled_in_one_module_of_each_kind_of_process() -> None:
    handlers = {
        module.name
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and (node.attr == "add_signal_handler" or ast.unparse(node) == "signal.signal")
    }
    assert handlers <= {
        "kitefeed.actors.runtime.process",
        "kitefeed.cli.signals",
        "kitefeed.cli.supervisord",  # of supervisord's children, before they are programs
        "kitefeed.simulator.run",
    }


def calls(module: Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


def test_zeromq_addresses_are_bound_in_one_function() -> None:
    """`_bind` is reached by the four wires, whose listeners a door made of socket files, by ZAP in
    this process, and by the tcp feed: nothing else can be put on the network."""
    binders = [
        (module.name, ast.unparse(call))
        for module in modules()
        for call in calls(module)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "bind"
        and not belongs(module.name, "kitefeed.simulator")
    ]  # fmt: skip
    sockets = "kitefeed.protocol.sockets"
    assert sorted(binders) == [
        ("kitefeed.actors.runtime.door", "made.bind(str(name))"),
        (sockets, "socket.bind(ZAP_ENDPOINT)"),
        (sockets, "socket.bind(address)"),
    ]


def test_bytes_are_never_turned_into_objects_without_a_type() -> None:
    """No pickle and its kin, and no decoder of ours without the type it may make."""
    forbidden = ("pickle", "marshal", "shelve", "dill", "yaml", "jsonpickle", "code")
    found = [f"{m.name} imports {n}" for m in modules() for n in imports(m)
             if any(belongs(n, f) for f in forbidden)]  # fmt: skip
    for module in modules():
        for call in calls(module):
            text = ast.unparse(call.func)
            is_named = text in ("eval", "exec", "compile", "__import__")
            if is_named or text.endswith((".recv_pyobj", ".recv_json", ".recv_serialized")):
                found.append(f"{module.name} calls {text}")
            is_decode = text in ("msgspec.msgpack.decode", "msgspec.json.decode")
            is_typed = call.args and any(keyword.arg == "type" for keyword in call.keywords)
            if is_decode and not is_typed and module.name not in UNTYPED_JSON:
                found.append(f"{module.name} decodes without a type")
            if text.endswith("msgpack.Decoder") and not call.args:
                found.append(f"{module.name} makes a decoder without a type")
    assert found == []


def test_every_pin_names_a_version() -> None:
    """Newer versions of pip refuse the whole file otherwise."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line.strip() and not line.startswith("#")]
    assert [
        pin for pin in pins if not re.match(r"[\w.\-]+==\d[\w.!+]*( *;.*)?( *#.*)?$", pin)
    ] == []


def test_no_folder_of_tests_is_left_out(pytestconfig: pytest.Config) -> None:
    """The folders are named one by one, for their order."""
    listed = {ROOT / path for path in pytestconfig.getini("testpaths")}
    holding = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [path for path in holding if listed.isdisjoint((path, *path.parents))] == []


# JSON of Kite whose fields are not ours to know (an order is passed on whole), and the simulator.
UNTYPED_JSON = {"kitefeed.protocol.kite.text", "kitefeed.simulator.control"}


# --- the supervisor's regions --------------------------------------------------------------------

# Modules that are one region together; every other one is a region by itself.
REGIONS = {"moves": "dial", "closing": "link"}
# By what name a struct of facts is held -> the struct, where these differ.
STRUCTS = {
    "s": "State", "state": "State", "shard": "Shard", "facts": "session", "standby": "session",
    "known": "list", "shards[dial.shard]": "Shard", "shards[known.shard]": "Shard",
    "_subscriptions": "Subscriptions", "subscriptions": "Subscriptions",
}  # fmt: skip
FACTS = {
    "State", "Shard", "dial", "link", "session", "rest", "probe", "book", "grant", "list", "outage",
    "persisted", "ladders", "Subscriptions", "member", "pending", "roster",
}  # fmt: skip
SELVES = {"state": "State", "subscriptions": "Subscriptions", "roster": "roster"}  # by module
CHANGES = {"add", "append", "clear", "discard", "pop", "reset", "setdefault", "update"}


def facts_changed(module: Module) -> Iterator[tuple[str, str]]:
    """Struct and field of each fact that the module assigns, or changes in place."""
    made = {
        child
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        for child in ast.walk(node)
    }
    for node in ast.walk(module.tree):
        targets: list[ast.expr] = []
        match node:
            case _ if node in made:  # to be there is no change
                pass
            case ast.Assign():
                targets = node.targets
            case ast.AugAssign() | ast.AnnAssign():
                targets = [node.target]
            case ast.Call(ast.Attribute(changed, method)) if method in CHANGES:
                targets = [changed]
        for each in targets:
            for target in each.elts if isinstance(each, ast.Tuple) else [each]:
                place = target.value if isinstance(target, ast.Subscript) else target
                if isinstance(place, ast.Attribute):
                    holder = ast.unparse(place.value).removeprefix("self.")
                    name = holder.removeprefix("s.").rpartition(".")[2]
                    name = holder.removeprefix("s.") if name.endswith("]") else name
                    own = SELVES.get(module.path.stem, name) if name == "self" else name
                    yield STRUCTS.get(own, own), place.attr


def test_no_region_of_the_supervisor_changes_what_another_one_knows() -> None:
    """Each fact has one region that changes it; the others ask that region to, or tell it news."""
    writers: dict[tuple[str, str], set[str]] = {}
    for module in modules():
        if belongs(module.name, "kitefeed.actors.supervisor"):
            name = module.path.stem
            for struct, field in facts_changed(module):
                if struct in FACTS:
                    writers.setdefault((struct, field), set()).add(REGIONS.get(name, name))
    assert len(writers) > 60
    assert {fact: by for fact, by in writers.items() if len(by) > 1} == {}
