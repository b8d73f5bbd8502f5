"""`kitefeed service install`, with a systemctl that notes what it is asked."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kitefeed.cli.main import main
from kitefeed.protocol.exits import Exit

INSTALL = ["service", "install", "--user"]
UNINSTALL = ["service", "uninstall", "--user"]


class Host:
    """A home with a configuration, and a systemctl of its own first in PATH."""

    def __init__(self, root: Path) -> None:
        self.config = root / "a 100% $HOME" / "kitefeed.toml"
        self.config.parent.mkdir()
        self.config.write_text('runtime_dir = "run"\nstate_dir = "state"\n')
        self.unit = root / "config" / "systemd/user/kitefeed.service"
        self.bin = root / "bin"
        self.bin.mkdir()
        self._asked = root / "asked"

    def has_systemctl(self, *, code: int = 0, says: str = "") -> None:
        program = self.bin / "systemctl"
        program.write_text(
            f"#!{sys.executable}\nimport sys\n"
            f"open({str(self._asked)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            f"print({says!r}, file=sys.stderr)\nsys.exit({code})\n"
        )
        program.chmod(0o755)

    def asked(self) -> list[str]:
        return self._asked.read_text().splitlines() if self._asked.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(tmp_path)
    monkeypatch.setenv("KITEFEED_CONFIG", str(found.config))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(found.bin))
    monkeypatch.setattr(sys, "platform", "linux")
    return found


def test_the_unit_runs_this_installation_with_its_configuration_and_is_started(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.has_systemctl()
    assert main(INSTALL) == 0
    program = Path(sys.executable).parent / "kitefeed"
    place = str(host.config).replace("%", "%%").replace("$", "$$")
    assert f'\nExecStart="{program}" --config "{place}" up\n' in host.unit.read_text()
    assert host.asked() == ["--user daemon-reload", "--user enable --now kitefeed"]
    said = capsys.readouterr().out
    assert str(host.unit) in said
    assert "loginctl enable-linger" in said


def test_systemd_takes_the_unit_as_it_is_written(host: Host, tmp_path: Path) -> None:
    """Where it is; its own parser says what became of the quotes."""
    analyze = shutil.which("systemd-analyze", path="/usr/bin:/bin")
    host.has_systemctl()
    assert main(INSTALL) == 0
    if analyze is None:
        return
    env = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [analyze, "--user", "verify", str(host.unit)],
        capture_output=True, text=True, check=False, env=env,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_print_shows_the_unit_and_touches_nothing(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*INSTALL, "--print"]) == 0
    shown = capsys.readouterr().out
    assert "\nType=notify\n" in shown
    assert "\nWatchdogSec=" in shown
    assert not host.unit.exists()


def test_a_host_without_systemd_is_told_so_and_nothing_is_written(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(INSTALL) == Exit.UNAVAILABLE
    assert main(UNINSTALL) == Exit.UNAVAILABLE
    assert "There is no systemd here" in capsys.readouterr().err
    assert not host.unit.exists()


def test_macos_has_no_systemd_whatever_lies_in_the_path(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.has_systemctl()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main(INSTALL) == Exit.UNAVAILABLE
    assert host.asked() == []


def test_a_manager_that_cannot_be_reached_leaves_the_rest_to_be_typed(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.has_systemctl(code=1, says="Failed to connect to bus: No medium found")
    assert main(INSTALL) == Exit.TRY_LATER
    assert host.unit.exists()
    said = capsys.readouterr().err
    assert "No medium found" in said
    assert "systemctl --user daemon-reload\n  systemctl --user enable --now kitefeed" in said


def test_without_a_configuration_that_can_be_used_nothing_is_written(host: Host) -> None:
    host.has_systemctl()
    host.config.write_text("mode = 7\n")
    assert main(INSTALL) == Exit.CONFIG
    assert not host.unit.exists()


def test_a_unit_that_somebody_changed_is_kept_beside_the_new_one(host: Host) -> None:
    host.has_systemctl()
    host.unit.parent.mkdir(parents=True)
    host.unit.write_text("[Service]\nNice=5\n")
    assert main(INSTALL) == 0
    assert main(INSTALL) == 0
    assert host.unit.with_name("kitefeed.service.old").read_text() == "[Service]\nNice=5\n"


def test_what_only_this_shell_sets_is_named_without_its_value(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host.has_systemctl()
    monkeypatch.setenv("KITEFEED_ALERTS__WEBHOOK", "https://hooks.example.com/hunter2")
    assert main(INSTALL) == 0
    said = capsys.readouterr()
    assert "$KITEFEED_ALERTS__WEBHOOK" in said.out
    assert "hunter2" not in said.out + said.err + host.unit.read_text()


def test_a_removed_unit_is_stopped_first_and_forgotten(host: Host) -> None:
    host.has_systemctl()
    assert main(UNINSTALL) == Exit.UNAVAILABLE, "there is none"
    assert main(INSTALL) == 0
    assert main(UNINSTALL) == 0
    assert not host.unit.exists()
    assert host.asked()[-2:] == ["--user disable --now kitefeed", "--user daemon-reload"]


def test_whose_unit_has_to_be_said(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.has_systemctl()
    assert main(["service", "install"]) == Exit.USAGE
    assert "--user" in capsys.readouterr().err
    assert not host.unit.exists()
