"""Passwords that the owner made, one for each program or person. Kite programs give theirs as
`access_token` (PROGRAMS); those of the gateway are its tokens (GATEWAY).

    <keys>/<kind>/<name>.password     the SHA-256 of the password, in hexadecimal

The file reveals nothing to its reader; the password is shown once, when it is made. A file that is
taken away closes the door for new connections at once. Kite's own token never opens it.
"""

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Literal

from kitefeed.protocol import private_files

Kind = Literal["programs", "gateway"]
PROGRAMS: Kind = "programs"
GATEWAY: Kind = "gateway"
FILE_BYTES_MAX = 256
PASSWORDS_MAX = 256  # files are read at every handshake


def path_of(keys: Path, name: str, kind: Kind = PROGRAMS) -> Path:
    return keys / kind / f"{name}.password"


def new_password() -> str:
    """Make a password of letters and digits: the official client puts it into a URL as it is."""
    return secrets.token_hex(16)


def text_of(password: str) -> str:
    return digest(password) + "\n"


def are_there(keys: Path, kind: Kind) -> bool:
    """Whether any password was made, readable or not."""
    return next((keys / kind).glob("*.password"), None) is not None


def digests(keys: Path, kind: Kind) -> dict[str, str]:
    """Name -> digest. A file that others could have written is left out."""
    found = {}
    for path in sorted((keys / kind).glob("*.password"))[:PASSWORDS_MAX]:
        try:
            known = private_files.read(path, FILE_BYTES_MAX)
        except private_files.Unsafe:
            continue
        if known is not None:
            found[path.stem] = known.strip().decode("ascii", "replace")
    return found


def owner_of(keys: Path, password: str, kind: Kind = PROGRAMS) -> str | None:
    """Return the name of the owner of this password; None when it is nobody's. It takes as long for
    each."""
    given = digest(password).encode()
    found = None
    for name, known in digests(keys, kind).items():
        if hmac.compare_digest(known.encode(), given):
            found = name
    return found


def digest(password: str) -> str:
    return hashlib.sha256(password.encode("utf-8", "replace")).hexdigest()
