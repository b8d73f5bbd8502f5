"""What programs give as `access_token`: passwords that the owner made, one for each program.

    <keys>/programs/<name>.password     the SHA-256 of the password, in hexadecimal

The file says nothing to who reads it; the password is shown once, when it is made. A file that is
taken away closes the door for new connections at once. Kite's own token never opens it.
"""

import hashlib
import hmac
import secrets
from pathlib import Path

from kitefeed.protocol import private_files

FOLDER = "programs"
FILE_BYTES_MAX = 256
PASSWORDS_MAX = 256  # files are read at every handshake


def path_of(keys: Path, name: str) -> Path:
    return keys / FOLDER / f"{name}.password"


def new_password() -> str:
    """Of letters and digits: the official client puts it into a URL as it is."""
    return secrets.token_hex(16)


def text_of(password: str) -> str:
    return _digest(password) + "\n"


def owner_of(keys: Path, password: str) -> str | None:
    """The name of the program whose password this is; None for nobody's. A file that others could
    have written lets nobody in."""
    digest = _digest(password)
    found = None
    for path in sorted((keys / FOLDER).glob("*.password"))[:PASSWORDS_MAX]:
        try:
            known = private_files.read(path, FILE_BYTES_MAX)
        except private_files.Unsafe:
            continue
        if known is not None and hmac.compare_digest(known.strip(), digest.encode()):
            found = path.stem
    return found


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
