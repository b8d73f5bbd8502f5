"""Tokens of the gateway, as `kitefeed keys --gateway NAME` makes them."""

from pathlib import Path

from kitefeed.protocol import passwords


def made(keys: Path, name: str) -> str:
    token = passwords.new_password()
    path = passwords.path_of(keys, name, passwords.GATEWAY)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(passwords.text_of(token))
    path.chmod(0o600)
    return token


def remove(keys: Path, name: str) -> None:
    passwords.path_of(keys, name, passwords.GATEWAY).unlink()
