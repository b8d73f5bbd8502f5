"""Key files: made once, read only while nobody else can."""

from pathlib import Path

import pytest

from kitefeed.protocol import keys, private_files
from kitefeed.protocol.errors import ConfigError
from kitefeed.protocol.keys import ClientKeys
from kitefeed.protocol.sockets import new_key_pair


def make(directory: Path, *names: str) -> list[ClientKeys]:
    """A server's key and those of clients."""
    server = new_key_pair()
    (directory / keys.CLIENTS_NAME).mkdir()
    private_files.create(keys.server_path(directory), keys.server_text(server).encode())
    made = [ClientKeys(server.public, new_key_pair()) for _ in names]
    for name, each in zip(names, made, strict=True):
        private_files.create(keys.client_path(directory, name), keys.client_text(each).encode())
    return made


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    (desk,) = make(tmp_path, "desk")
    assert keys.read_server(tmp_path).public == desk.server
    assert keys.read_client(keys.client_path(tmp_path, "desk")) == desk
    assert keys.allowed(tmp_path) == {desk.own.public: "desk"}


def test_every_key_libzmq_makes_is_one(tmp_path: Path) -> None:
    made = make(tmp_path, *(f"c{number}" for number in range(50)))
    assert keys.allowed(tmp_path).keys() == {each.own.public for each in made}


def test_a_removed_or_loosened_file_lets_nobody_in(tmp_path: Path) -> None:
    _, kept, _ = make(tmp_path, "gone", "kept", "loose")
    keys.client_path(tmp_path, "gone").unlink()
    keys.client_path(tmp_path, "loose").chmod(0o620)
    assert keys.allowed(tmp_path) == {kept.own.public: "kept"}


def test_the_daemons_copy_of_a_client_needs_no_secret(tmp_path: Path) -> None:
    (desk,) = make(tmp_path, "desk")
    path = keys.client_path(tmp_path, "desk")
    path.write_text(f'public_key = "{desk.own.public}"\n')
    assert keys.allowed(tmp_path) == {desk.own.public: "desk"}


@pytest.mark.parametrize("text", ["", "[[[", "public_key = 5", 'public_key = "short"', "\xff" * 9])
def test_damage_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    make(tmp_path, "desk")
    path = keys.client_path(tmp_path, "desk")
    path.write_text(text, "latin-1")
    assert keys.allowed(tmp_path) == {}
    with pytest.raises(ConfigError, match="kitefeed keys") as caught:
        keys.read_client(path)
    assert text == "" or text not in str(caught.value)


def test_a_file_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    make(tmp_path)
    keys.server_path(tmp_path).chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        keys.read_server(tmp_path)


def test_a_missing_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kitefeed keys"):
        keys.read_server(tmp_path)


def test_a_key_pair_does_not_show_its_secret() -> None:
    pair = new_key_pair()
    assert pair.secret.reveal() not in f"{pair} {pair!r} {ClientKeys(pair.public, pair)}"


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    private_files.create(path, b"first")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        private_files.create(path, b"second")
    assert path.read_bytes() == b"first"
