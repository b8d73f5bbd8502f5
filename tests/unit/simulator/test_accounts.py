import hashlib

import pytest

from kitefeed.kite_server.limits import RateLimit
from kitefeed.simulator.accounts import REQUEST_TOKEN_LIFE_NS, Accounts, App, Refusal

NS = 1_000_000_000


@pytest.fixture
def accounts() -> Accounts:
    return Accounts(seed=3, count=2)


def checksum_of(app: App, request_token: str) -> str:
    return hashlib.sha256((app.api_key + request_token + app.api_secret).encode()).hexdigest()


def test_secrets_look_real_differ_and_repeat_with_the_seed(accounts: Accounts) -> None:
    first, second = accounts.apps
    assert len(first.api_key) == 16
    assert len(first.api_secret) == 32
    assert len(first.access_token or "") == 32
    assert (first.api_key + first.api_secret + (first.access_token or "")).isalnum()
    assert first.api_key != second.api_key
    assert first.user_id != second.user_id
    assert Accounts(3, 2).apps[0].access_token == first.access_token
    assert Accounts(4, 2).apps[0].access_token != first.access_token


def test_a_login_makes_another_token_and_kills_the_one_before(accounts: Accounts) -> None:
    app, other = accounts.apps
    old = app.access_token or ""
    new = accounts.login(app)
    assert new != old
    assert accounts.authorise(app.api_key, old) is None
    assert accounts.authorise(app.api_key, new) is app
    assert accounts.authorise(other.api_key, new) is None
    accounts.expire(app)
    assert accounts.authorise(app.api_key, new) is None
    assert accounts.authorise(other.api_key, other.access_token or "") is other


def test_a_request_token_is_good_once(accounts: Accounts) -> None:
    app = accounts.apps[0]
    token = accounts.new_request_token(app, 0)
    checksum = checksum_of(app, token)
    assert accounts.exchange(app.api_key, token, checksum, 1) is app
    assert accounts.exchange(app.api_key, token, checksum, 1) is Refusal.REQUEST_TOKEN


def test_a_request_token_expires(accounts: Accounts) -> None:
    app = accounts.apps[0]
    token = accounts.new_request_token(app, 0)
    late_ns = REQUEST_TOKEN_LIFE_NS
    checksum = checksum_of(app, token)
    assert accounts.exchange(app.api_key, token, checksum, late_ns) is Refusal.REQUEST_TOKEN


def test_a_wrong_checksum_is_refused_and_spends_nothing(accounts: Accounts) -> None:
    app, other = accounts.apps
    token = accounts.new_request_token(app, 0)
    wrong = checksum_of(other, token)
    assert accounts.exchange(app.api_key, token, wrong, 1) is Refusal.CHECKSUM
    assert accounts.exchange("nobody", token, wrong, 1) is Refusal.CHECKSUM
    assert accounts.exchange(app.api_key, token, checksum_of(app, token), 1) is app


def test_a_rate_limit_counts_what_it_allowed_in_the_last_second() -> None:
    limit = RateLimit(2)
    assert [limit.allow(at) for at in (0, 1, 2)] == [True, True, False]
    assert not limit.allow(NS // 2)
    assert limit.allow(NS)
    assert limit.allow(NS + 1)
    assert not limit.allow(NS + 2)
