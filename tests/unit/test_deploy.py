"""Tests `deploy/` and the runbook: the program that each file is for reads it where that is
installed, and an independent parser everywhere."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from configparser import ConfigParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from kitefeed.actors.runtime import config
from kitefeed.cli.main import COMMANDS
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.messages.status import ActorStatus, Outage
from kitefeed.protocol.topology import Role
from kitefeed.services.gateway import health, metrics
from kitefeed.services.gateway.health import FEEDS
from kitefeed.services.notifier.alerts import Code
from tests.unit.services.notifier_kit import LIVE, report

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus/kitefeed.rules.yml"
UNITS = (DEPLOY / "systemd/kitefeed.service", DEPLOY / "systemd/user/kitefeed.service")
RUNBOOK = (ROOT / "docs/runbook.md").read_text("utf-8")


def run(*command: object, **options: Any) -> None:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- metrics ------------------------------------------------------------------------------------


def exported() -> dict[str, set[str]]:
    """Metric -> the values of its labels, of a daemon that has something to tell of everything."""
    names = {name for _, _, _, name in metrics._COUNTERS}
    outage = Outage("login_required", 1.0, 2.0, 3.0)
    told = report(
        actors=[ActorStatus(role, "up", counters=dict.fromkeys(names, 1)) for role in Role],
        last_outage=outage,
    )
    text = metrics.exposition(health.judge(LIVE, None), told, 0, 9.0, 9.0).decode()
    found: dict[str, set[str]] = {"up": set()}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.M):
        found.setdefault(name, set()).update(re.findall(r'="([^"]*)"', labels))
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    board = json.loads((DEPLOY / "grafana/kitefeed.json").read_text("utf-8"))
    found: list[dict[str, Any]] = board["panels"]
    return found


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()] + [
        target["expr"] for panel in panels() for target in panel["targets"]
    ]


def test_rules_and_dashboard_ask_for_nothing_that_the_gateway_does_not_export() -> None:
    known = exported()
    for expression in expressions():
        bare = re.sub(r'"[^"]*"', '""', expression)
        used = set(re.findall(r"\bkitefeed_\w+|\bup\b", bare))
        assert used, expression
        assert used <= known.keys(), expression
        for name, value in re.findall(r'(feed|state)=~?"([^"]*)"', expression):
            words = set(FEEDS) if name == "feed" else known["kitefeed_instruments"]
            assert set(value.split("|")) <= words, expression


def test_a_check_that_finds_an_unknown_metric_can_fail() -> None:
    assert "kitefeed_healthy" in exported()
    assert "kitefeed_unheard_of" not in exported()


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    """Where it is; else their own syntax is looked at: brackets, and a number behind each `>`."""
    promtool = shutil.which("promtool")
    if promtool:
        run(promtool, "check", "rules", RULES)
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 10
    for rule in rules():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert (rule["labels"]["wakes"] == "yes") is (rule["labels"]["severity"] == "critical")
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        assert all(rule["expr"].count(a) == rule["expr"].count(b) for a, b in ("()", "{}", "[]"))


def test_every_rule_leads_to_a_place_in_the_runbook_and_to_a_code_that_exists() -> None:
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/runbook.md"
        assert anchor in anchors(), anchor
        assert rule["labels"].get("code", Code.LOST) in set(Code)


def test_panels_of_the_dashboard_neither_overlap_nor_leave_the_grid() -> None:
    cells = [
        (x, y)
        for panel in panels()
        for place in (panel["gridPos"],)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)


# --- systemd ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", UNITS, ids=["system", "user"])
def test_systemd_takes_the_unit(path: Path, tmp_path: Path) -> None:
    unit = ConfigParser(strict=True, interpolation=None, delimiters=("=",))
    unit.optionxform = str
    unit.read(path)
    service = unit["Service"]
    assert service["ExecStart"].endswith("/kitefeed up")
    assert service["Restart"] == "always"
    assert service["RestartPreventExitStatus"] == str(int(Exit.CONFIG))
    assert service["KillMode"] == "mixed"
    # Who tells is a child of supervisord, every 5 s (`cli/service_manager.py`).
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "all")
    assert int(service["WatchdogSec"]) >= 6 * 5
    is_of_user = path.parent.name == "user"
    assert ("User" in service) is not is_of_user
    analyze = shutil.which("systemd-analyze")
    if analyze:
        here = tmp_path / path.name
        text = path.read_text("utf-8")
        here.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text))
        mode = ["--user"] if is_of_user else []
        env = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [analyze, *mode, "verify", str(here)], capture_output=True, text=True, check=False,
            env=env,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


# --- Docker -------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: (FROM, ...), continued lines joined."""
    text = (DEPLOY / "docker/Dockerfile").read_text("utf-8")
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line)]


def test_the_image_runs_as_nobody_special_and_knows_whether_it_is_healthy() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint:
        run(hadolint, DEPLOY / "docker/Dockerfile")
    found = instructions()
    words = {
        "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "STOPSIGNAL", "HEALTHCHECK",
        "ENTRYPOINT", "CMD",
    }  # fmt: skip
    assert {word for word, _ in found} == words
    last = [rest for word, rest in found if word == "FROM"][-1]
    final = found[found.index(("FROM", last)) :]
    user = dict(final)["USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number, not root"
    check = dict(final)["HEALTHCHECK"]
    command = json.loads(check[check.index("CMD ") + 4 :])
    assert command[:2] == ["python", "-c"]
    assert "/health'" in command[2]
    assert json.loads(dict(final)["ENTRYPOINT"]) == ["kitefeed"]
    assert json.loads(dict(final)["CMD"])[0] in COMMANDS
    assert all(":" in rest and ":latest" not in rest for word, rest in found if word == "FROM")


def health_check() -> str:
    check = next(rest for word, rest in instructions() if word == "HEALTHCHECK")
    command: list[str] = json.loads(check[check.index("CMD ") + 4 :])
    return command[2]


@pytest.mark.parametrize(
    ("status", "needs_token", "code"), [(200, False, 0), (503, False, 1), (200, True, 0)]
)
def test_the_image_is_well_while_health_says_so_and_gives_its_token(
    tmp_path: Path, status: int, needs_token: bool, code: int
) -> None:
    """The program of the image, run here at another port."""
    asked: list[str | None] = []

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    token = tmp_path / "token"
    token.write_text("abc\n")
    env = {"http_proxy": "http://127.0.0.1:9"}
    if needs_token:
        env["KITEFEED_GATEWAY__TOKEN_FILE"] = str(token)
    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        program = health_check().replace(":8787/", f":{server.server_port}/")
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True)
        server.shutdown()
        thread.join()
    assert done.returncode == code, done.stderr
    assert asked == ["Bearer abc" if needs_token else None]


def test_what_the_compose_file_offers_behind_a_number_sign_fits_to_the_rest() -> None:
    """With the signs taken away: secrets are files, and each variable names one of them."""
    text = (DEPLOY / "docker/compose.yaml").read_text("utf-8")
    block = re.compile(r"(?m)^( *)# (environment:|  KITEFEED_|secrets:|  \w+_\w+: \{)")
    compose = yaml.safe_load(block.sub(r"\1\2", text))
    service = compose["services"]["kitefeed"]
    assert set(service["secrets"]) == set(compose["secrets"])
    named = {Path(path).name for path in service["environment"].values()}
    assert named == set(compose["secrets"])
    assert all(name.endswith("_FILE") for name in service["environment"])


def test_the_container_can_write_only_its_state_and_is_reached_from_this_host_alone() -> None:
    compose = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text("utf-8"))
    service = compose["services"]["kitefeed"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["network_mode"] == "host"
    assert "ports" not in service
    assert "${KITEFEED_UID:?" in service["user"]
    assert (DEPLOY / "docker" / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    mounts = dict(mount.split(":", 2)[:2] for mount in service["volumes"])
    named = {source for source in mounts if not source.startswith("./")}
    assert named == set(compose["volumes"])
    inside = config.load(DEPLOY / "docker/kitefeed.toml")
    assert {str(inside.state_dir), str(inside.runtime_dir)} <= set(mounts.values())
    assert f"http://{inside.config.gateway.listen}/health" in dict(instructions())["HEALTHCHECK"]
    assert f"KITEFEED_CONFIG={mounts['./kitefeed.toml']}" in dict(instructions())["ENV"]


def test_the_image_is_built_without_what_only_this_host_needs() -> None:
    ignored = (DEPLOY / "docker/Dockerfile.dockerignore").read_text("utf-8").split()
    assert {".git", ".venv", "tests"} <= set(ignored)
    assert not {"kitefeed", "services", "constraints.txt", "README.md"} & set(ignored)


# --- the runbook --------------------------------------------------------------------------------


def anchors() -> set[str]:
    """Of its headings, as a page of Markdown makes them."""
    headings = re.findall(r"^#+ (.+)$", RUNBOOK, re.M)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def test_every_code_and_every_exit_code_is_in_the_runbook() -> None:
    assert {code.lower() for code in Code if code is not Code.TEST} <= anchors()
    section = RUNBOOK.split("\n## Exit codes\n")[1]
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.M)}
    assert told == {*map(int, Exit), 130}


def test_what_the_runbook_says_to_type_and_to_follow_exists() -> None:
    typed = set(re.findall(r"kitefeed ([a-z-]+)[ `\n]", RUNBOOK))
    assert typed - {"on", "is"} <= COMMANDS.keys()
    for anchor in re.findall(r"\]\(#([\w-]+)\)", RUNBOOK):
        assert anchor in anchors(), anchor
