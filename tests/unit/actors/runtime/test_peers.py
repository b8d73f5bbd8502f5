"""Tests what the kernel tells of the connections of a server in this process."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.actors.runtime import peers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is told")


@pytest.fixture(params=["ipc", "tcp"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    is_file = request.param == "ipc"
    with socket.socket(socket.AF_UNIX if is_file else socket.AF_INET) as made:
        made.bind(str(tmp_path / "s") if is_file else ("127.0.0.1", 0))
        made.listen()
        yield made


def address_of(server: socket.socket) -> str | int:
    own = server.getsockname()
    return own if isinstance(own, str) else int(own[1])


def fill(near: socket.socket) -> None:
    near.setblocking(False)
    try:
        while True:
            near.send(bytes(4_096))
    except BlockingIOError:
        pass


def test_one_that_takes_nothing_is_found_and_can_be_cut(server: socket.socket) -> None:
    with socket.socket(server.family) as far:
        far.connect(server.getsockname())
        near, _ = server.accept()
        with near:
            own = address_of(server)
            assert peers.full(lambda address: address == own) == {}
            fill(near)
            found = peers.full(lambda address: address == own)
            assert list(found) == [near.fileno()]
            assert found[near.fileno()] >= peers.FULL_BYTES
            assert peers.full(lambda address: address != own) == {}
            assert peers.at([server.fileno()])[own] == 1
            assert peers.cut(near.fileno(), lambda address: address != own) == 0
            near.send(b"", socket.MSG_DONTWAIT)  # it was not cut
            pid = peers.cut(near.fileno())
            assert pid == (os.getpid() if server.family == socket.AF_UNIX else 0)
            with pytest.raises(BrokenPipeError):
                near.send(b"x")


def test_a_descriptor_that_is_no_connection_any_more_is_no_error() -> None:
    reading, writing = os.pipe()
    assert peers.cut(reading) == 0
    os.close(reading)
    os.close(writing)
    assert peers.cut(reading) == 0
