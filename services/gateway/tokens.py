"""Knows the owners of the gateway's tokens: `kitefeed keys --gateway NAME` makes them, one may come
by environment. A browser that gave one keeps a cookie, which holds no token and ends with it."""

import hmac
from pathlib import Path

from kitefeed.protocol import passwords
from kitefeed.protocol.secret import Secret

COOKIE_S = 30 * 86_400  # a phone is not asked every day
OF_ENVIRONMENT = "~"  # no name of a file


class Tokens:
    """keys: the directory of keys. given: that of the environment, "" for none. is_always: other
    hosts reach the gateway, so nobody enters without one, also when all of them are gone."""

    def __init__(self, keys: Path, given: Secret, *, is_always: bool) -> None:
        self._keys = keys
        self._given = given
        self._is_always = is_always

    def are_needed(self) -> bool:
        """Whether everybody is asked for one: as soon as there is one."""
        is_there = bool(self._given.reveal()) or passwords.are_there(self._keys, passwords.GATEWAY)
        return self._is_always or is_there

    def owner_of(self, token: str) -> str | None:
        """Return the token's owner; None when it has none. It takes as long for each."""
        digest = passwords.digest(token)
        found = None
        for name, known in self._digests().items():
            if hmac.compare_digest(known.encode(), digest.encode()):
                found = name
        return found

    def cookie_of(self, owner: str, utc_s: float) -> str:
        expires = str(int(utc_s) + COOKIE_S)
        return f"{owner}.{expires}.{_seal(self._digests()[owner], owner, expires)}"

    def owner_of_cookie(self, cookie: str, utc_s: float) -> str | None:
        """Return the cookie's owner; None when it is made up, too old, or of a token that is
        gone."""
        owner, _, rest = cookie.partition(".")
        expires, _, seal = rest.partition(".")
        known = self._digests().get(owner)
        if known is None or not hmac.compare_digest(
            _seal(known, owner, expires).encode(), seal.encode("utf-8", "replace")
        ):
            return None
        return owner if utc_s < int(expires) else None

    def _digests(self) -> dict[str, str]:
        found = passwords.digests(self._keys, passwords.GATEWAY)
        if given := self._given.reveal():
            found[OF_ENVIRONMENT] = passwords.digest(given)
        return found


def _seal(digest: str, owner: str, expires: str) -> str:
    """Seal a cookie with what only a reader of the token's file knows."""
    return hmac.digest(digest.encode(), f"cookie {owner} {expires}".encode(), "sha256").hex()
