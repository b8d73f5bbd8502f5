"""A secret that cannot be printed by accident, and the filter that catches what slips through."""

import hashlib
import logging
import re


class Secret:
    """A string whose repr, str and format are `***`; `reveal()` gives the text to the one call that
    needs it. Not picklable, so that it cannot cross a process border unnoticed."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


def fingerprint_of(api_key: str, access_token: Secret) -> str:
    """The short hash by which messages and logs name a session: 12 hexadecimal digits."""
    return hashlib.sha256(f"{api_key}:{access_token.reveal()}".encode()).hexdigest()[:12]


_known: set[str] = set()
_IN_URL = re.compile(r"((?:access_token|request_token|api_secret|enctoken)=)[^&\s'\"]+")


def remember(secret: Secret) -> Secret:
    """Registers a secret with the redaction of this process; returns it."""
    if len(secret.reveal()) >= 6:  # shorter ones would blot out ordinary words
        _known.add(secret.reveal())
    return secret


def redact(text: str) -> str:
    """`text` without any secret this process has read, nor what looks like one in a URL."""
    for secret in _known:
        text = text.replace(secret, "***")
    return _IN_URL.sub(r"\1***", text)


class RedactingFormatter(logging.Formatter):
    """Redacts the finished line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
