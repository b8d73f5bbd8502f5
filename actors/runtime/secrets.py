"""Names secrets by a fingerprint, and catches one that slips into a text."""

import hashlib
import re

from kitefeed.protocol.secret import Secret as Secret


def fingerprint_of(api_key: str, access_token: Secret) -> str:
    """Return the short hash by which messages and logs name a session: 12 hexadecimal digits."""
    return hashlib.sha256(f"{api_key}:{access_token.reveal()}".encode()).hexdigest()[:12]


_known: set[str] = set()
_IN_URL = re.compile(
    r"((?:access_token|request_token|refresh_token|api_secret|enctoken)=)[^&\s'\"]+"
)


def remember(secret: Secret) -> Secret:
    """Register a secret with the redaction of this process; return it."""
    if len(secret.reveal()) >= 6:  # shorter ones would blot out ordinary words
        _known.add(secret.reveal())
    return secret


def redact(text: str) -> str:
    """Return `text` without any secret this process has read, nor what looks like one in a URL."""
    for secret in _known:
        text = text.replace(secret, "***")
    return _IN_URL.sub(r"\1***", text)
