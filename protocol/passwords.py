"""Passwords that the owner made, one for each program or person: what Kite programs give as
`access_token` (PROGRAMS), and the tokens of the gateway (GATEWAY).

    <keys>/<kind>/<name>.password     the SHA-256 of the password, in hexadecimal

The file says nothing to who reads it; the password is shown once, when it is made. A file that is
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
    """Of letters and digits: the official client puts it into a URL as it is."""
    return secrets.token_hex(16)


def text_of(password: str) -> str:
    return digest(password) + "\n"


def are_there(keys: Path, kind: Kind) -> bool:
    """Whether any was made, readable or not."""
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
    """The name of whose password this is; None for nobody's. It takes as long for each."""
    given = digest(password).encode()
    found = None
    for name, known in digests(keys, kind).items():
        if hmac.compare_digest(known.encode(), given):
            found = name
    return found


def digest(password: str) -> str:
    return hashlib.sha256(password.encode("utf-8", "replace")).hexdigest()
