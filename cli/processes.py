"""Facts about other processes, asked for before one is signalled."""

import os
import subprocess
from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether `pid` exists and has not ended (a zombie has)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid) != "Z"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # macOS; or it ended just now, which the next look will see
        return "?"


def is_supervisord(pid: int) -> bool:
    """Whether `pid` runs supervisord, by its command line."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        words = _arguments_from_ps(pid)
    return any(word.endswith(("supervisord", "supervisor.supervisord")) for word in words)


def _arguments_from_ps(pid: int) -> list[str]:
    """Ask `ps` for the arguments, where there is no /proc."""
    try:
        answer = subprocess.run(
            ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
    except OSError:
        return []
    return answer.stdout.split()
