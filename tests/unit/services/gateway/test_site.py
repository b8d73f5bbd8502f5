"""Tests who may enter what the page asks for."""

from types import SimpleNamespace
from typing import Any

import pytest

from kitefeed.protocol.errors import BadInput
from kitefeed.services.gateway.site import must_be_here


def asked_from(address: str | None) -> Any:
    return SimpleNamespace(remote=address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", None])
def test_a_secret_is_entered_on_this_host(address: str | None) -> None:
    must_be_here(asked_from(address))


@pytest.mark.parametrize("address", ["192.168.1.5", "::ffff:10.0.0.1", "fe80::1", "2001:db8::1"])
def test_a_secret_does_not_cross_a_network(address: str) -> None:
    with pytest.raises(BadInput, match="ssh -L"):
        must_be_here(asked_from(address))
