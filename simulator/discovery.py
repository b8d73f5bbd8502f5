"""How `kitefeed simulate fault` finds a running simulator: a small file that names its address.

The file holds no secret. It lies in the directory for temporary files, which others may write to,
so one that belongs to somebody else is not believed.
"""

import json
import os
import tempfile
from pathlib import Path


def address_file() -> Path:
    return Path(tempfile.gettempdir()) / f"kitefeed-simulator-{os.getuid()}.json"


def announce(rest_url: str) -> None:
    """Name this process as the one to talk to; the latest simulator wins. OSError if it cannot."""
    path = address_file()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps({"rest": rest_url, "pid": os.getpid()}))
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def withdraw(rest_url: str) -> None:
    """Remove the file, unless a later simulator has written its own."""
    if find() == rest_url:
        address_file().unlink(missing_ok=True)


def find() -> str | None:
    """The address of the latest simulator of this user; None when none has announced itself."""
    path = address_file()
    try:
        if path.lstat().st_uid != os.getuid():
            return None
        address = json.loads(path.read_text(encoding="utf-8"))["rest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return address if isinstance(address, str) else None
