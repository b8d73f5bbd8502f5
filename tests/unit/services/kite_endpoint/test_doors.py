"""Tests who may enter: passwords, and whose process it is."""

import os
import socket
from pathlib import Path

from kitefeed.protocol import passwords
from kitefeed.services.kite_endpoint import neighbours


def made(keys: Path, name: str) -> str:
    password = passwords.new_password()
    path = passwords.path_of(keys, name)
    path.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
    path.write_text(passwords.text_of(password))
    path.chmod(0o600)
    return password


def test_a_password_opens_for_the_program_it_was_made_for(tmp_path: Path) -> None:
    desk, bot = made(tmp_path, "desk"), made(tmp_path, "bot")
    assert passwords.owner_of(tmp_path, desk) == "desk"
    assert passwords.owner_of(tmp_path, bot) == "bot"
    assert passwords.owner_of(tmp_path, "") is None
    assert passwords.owner_of(tmp_path, desk[:-1]) is None
    passwords.path_of(tmp_path, "desk").unlink()
    assert passwords.owner_of(tmp_path, desk) is None


def test_a_file_that_others_can_write_opens_nothing(tmp_path: Path) -> None:
    password = made(tmp_path, "desk")
    passwords.path_of(tmp_path, "desk").chmod(0o666)
    assert passwords.owner_of(tmp_path, password) is None


def test_the_file_does_not_hold_the_password(tmp_path: Path) -> None:
    password = made(tmp_path, "desk")
    assert password not in passwords.path_of(tmp_path, "desk").read_text()


def test_the_kernel_says_whose_process_connected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as program:
            assert neighbours.user_of(program.getsockname(), server.getsockname()) == os.geteuid()
            assert neighbours.is_ours(program.getsockname(), server.getsockname())
        assert neighbours.user_of(("127.0.0.1", 1), server.getsockname()) is None
