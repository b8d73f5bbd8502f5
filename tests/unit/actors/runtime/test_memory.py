"""Each in a process of its own, run as the actors are."""

import subprocess
import sys
from pathlib import Path

import pytest

from kitefeed.protocol.topology import Role

TOKEN_HOLDERS = {Role.TICKER, Role.REST_POLLER, Role.TOKEN_VALIDATOR, Role.AUTH_WATCHER}
CODE = """
import ctypes, resource, sys
from kitefeed.actors.runtime import process
from kitefeed.protocol.topology import Role

async def live(runtime):
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
    print(dumpable, *resource.getrlimit(resource.RLIMIT_CORE))

sys.exit(process.run(Role(sys.argv[1]), live))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("role", Role)
def test_nobody_may_look_into_a_process_that_holds_a_token_and_none_dumps_core(
    role: Role, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kitefeed.toml"
    path.write_text(f'runtime_dir = "{tmp_path}/run"\nstate_dir = "{tmp_path}/state"\n')
    monkeypatch.setenv("KITEFEED_CONFIG", str(path))
    done = subprocess.run(
        [sys.executable, "-c", CODE, role], capture_output=True, text=True, check=True
    )
    dumpable = "0" if role in TOKEN_HOLDERS else "1"
    assert done.stdout.split() == [dumpable, "0", "0"]
