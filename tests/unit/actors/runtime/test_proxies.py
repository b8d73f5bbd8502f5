"""Tests which proxy the environment names for an address, and that this host needs none."""

import pytest
from requests.exceptions import InvalidProxyURL

from kitefeed.actors.runtime.proxies import Proxy, proxies_for, proxy_for
from kitefeed.actors.runtime.secrets import Secret, redact

KITE = "https://ws.kite.trade:443"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_the_environment_names_it_in_either_case(
    environment: pytest.MonkeyPatch, name: str
) -> None:
    environment.setenv(name, "http://proxy.example:3128")
    assert proxy_for(KITE) == Proxy("proxy.example", 3128, None)
    assert proxies_for(KITE) == {"https": "http://proxy.example:3128"}


@pytest.mark.parametrize(
    ("address", "proxy"),
    [
        ("proxy.example:3128", Proxy("proxy.example", 3128, None)),
        ("http://proxy.example", Proxy("proxy.example", 80, None)),
        ("http://[::1]:3128/", Proxy("::1", 3128, None)),
        ("http://a%40b:c%3Ad@p:1", Proxy("p", 1, Secret("Basic YUBiOmM6ZA=="))),
    ],
)
def test_an_address_is_read_as_requests_reads_it(
    environment: pytest.MonkeyPatch, address: str, proxy: Proxy
) -> None:
    environment.setenv("https_proxy", address)
    assert proxy_for(KITE) == proxy


@pytest.mark.parametrize("no_proxy", ["*", "kite.trade", ".kite.trade", "ws.kite.trade"])
def test_a_host_may_be_left_out(environment: pytest.MonkeyPatch, no_proxy: str) -> None:
    environment.setenv("https_proxy", "http://proxy.example:3128")
    environment.setenv("no_proxy", no_proxy)
    assert proxy_for(KITE) is None
    assert proxies_for(KITE) == {}


@pytest.mark.parametrize(
    "here", ["http://localhost:1", "http://127.0.0.1:1", "http://127.8.8.8", "http://[::1]:1"]
)
def test_this_host_is_never_reached_through_one(environment: pytest.MonkeyPatch, here: str) -> None:
    for name in VARIABLES[:3]:
        environment.setenv(name, "http://proxy.example:3128")
    assert proxy_for(here) is None
    assert proxies_for(here) == {}


@pytest.mark.parametrize(
    "address", ["socks5://p:1080", "https://p:443", "http://", "http://p:99999", "http://p:x"]
)
def test_one_that_cannot_be_used_is_a_sentence_without_its_password(
    environment: pytest.MonkeyPatch, address: str
) -> None:
    environment.setenv("all_proxy", address)
    for ask in (proxy_for, proxies_for):
        with pytest.raises(InvalidProxyURL, match="write http://HOST:PORT into https_proxy"):
            ask(KITE)


def test_its_password_is_redacted(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("https_proxy", "http://me:pass%20word@p:1")
    proxies_for(KITE)
    assert "word" not in redact("pass%20word pass word")
