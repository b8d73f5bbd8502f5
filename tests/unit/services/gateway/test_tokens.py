"""Tokens of the gateway, their cookies, and how often an address may be wrong."""

from pathlib import Path

import pytest

from kitefeed.protocol import passwords
from kitefeed.protocol.secret import Secret
from kitefeed.services.gateway.failures import ADDRESSES_MAX, FAILURES_MAX, WINDOW_NS, Failures
from kitefeed.services.gateway.tokens import COOKIE_S, Tokens
from tests.unit.services.gateway.token_kit import made, remove

NOBODYS = Secret("")


def test_without_any_nobody_on_this_host_is_asked(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, NOBODYS, is_always=False)
    assert not tokens.are_needed()
    made(tmp_path, "phone")
    assert tokens.are_needed()


def test_where_other_hosts_come_the_last_one_that_goes_lets_nobody_in(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, NOBODYS, is_always=True)
    token = made(tmp_path, "phone")
    assert tokens.owner_of(token) == "phone"
    remove(tmp_path, "phone")
    assert tokens.are_needed()
    assert tokens.owner_of(token) is None
    assert tokens.owner_of("") is None


def test_each_has_its_own_and_that_of_the_environment_counts_too(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, Secret("of the environment 123"), is_always=False)
    phone, desk = made(tmp_path, "phone"), made(tmp_path, "desk")
    assert (tokens.owner_of(phone), tokens.owner_of(desk)) == ("phone", "desk")
    assert tokens.owner_of("of the environment 123") is not None
    assert tokens.owner_of(phone[:-1]) is None
    assert tokens.owner_of("\udcff") is None


def test_the_password_of_a_kite_program_opens_no_gateway(tmp_path: Path) -> None:
    password = passwords.new_password()
    path = passwords.path_of(tmp_path, "bot")
    path.parent.mkdir(mode=0o700)
    path.write_text(passwords.text_of(password))
    path.chmod(0o600)
    assert Tokens(tmp_path, NOBODYS, is_always=True).owner_of(password) is None


def test_a_file_that_others_could_have_written_opens_nothing_and_keeps_the_door_shut(
    tmp_path: Path,
) -> None:
    token = made(tmp_path, "phone")
    passwords.path_of(tmp_path, "phone", passwords.GATEWAY).chmod(0o644)
    tokens = Tokens(tmp_path, NOBODYS, is_always=False)
    assert tokens.are_needed()
    assert tokens.owner_of(token) is None


def test_a_cookie_lasts_until_it_is_old_or_its_token_is_gone(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, NOBODYS, is_always=False)
    token = made(tmp_path, "phone")
    cookie = tokens.cookie_of("phone", 1_000.0)
    assert token not in cookie
    assert tokens.owner_of_cookie(cookie, 1_000.0) == "phone"
    again = Tokens(tmp_path, NOBODYS, is_always=False)
    assert again.owner_of_cookie(cookie, 1_000.0) == "phone", "of a gateway that was restarted"
    assert tokens.owner_of_cookie(cookie, 1_001.0 + COOKIE_S) is None
    remove(tmp_path, "phone")
    assert tokens.owner_of_cookie(cookie, 1_000.0) is None
    made(tmp_path, "phone")
    assert tokens.owner_of_cookie(cookie, 1_000.0) is None, "of another token of that name"


@pytest.mark.parametrize(
    "forged",
    ["", ".", "..", "phone", "phone.99999999999.", "phone.x.00", "~.99999999999.00", "é.1.é",
     "phone.99999999999." + "0" * 64],
)  # fmt: skip
def test_a_cookie_that_is_made_up_is_nobodys(tmp_path: Path, forged: str) -> None:
    made(tmp_path, "phone")
    assert Tokens(tmp_path, NOBODYS, is_always=False).owner_of_cookie(forged, 0.0) is None


def test_a_cookie_whose_end_was_moved_is_nobodys(tmp_path: Path) -> None:
    made(tmp_path, "phone")
    tokens = Tokens(tmp_path, NOBODYS, is_always=False)
    owner, _, seal = tokens.cookie_of("phone", 0.0).split(".")
    assert tokens.owner_of_cookie(f"{owner}.99999999999.{seal}", 0.0) is None


def test_an_address_that_is_wrong_again_and_again_is_not_listened_to_for_a_minute() -> None:
    failures = Failures()
    for _ in range(FAILURES_MAX):
        assert not failures.are_too_many("192.0.2.1", 0)
        failures.note("192.0.2.1", 0)
    assert failures.are_too_many("192.0.2.1", WINDOW_NS - 1)
    assert not failures.are_too_many("192.0.2.2", 0)
    assert not failures.are_too_many("192.0.2.1", WINDOW_NS)
    assert failures.note("192.0.2.1", WINDOW_NS) == 1


def test_a_host_with_many_addresses_is_one() -> None:
    failures = Failures()
    for number in range(FAILURES_MAX):
        failures.note(f"2001:db8::{number:x}", 0)
    assert failures.are_too_many("2001:db8::ffff", 0)
    assert not failures.are_too_many("2001:db8:0:1::1", 0)
    for number in range(FAILURES_MAX):
        failures.note("::ffff:192.0.2.1" if number % 2 else "192.0.2.1", 0)
    assert failures.are_too_many("192.0.2.1", 0)


def test_any_number_of_addresses_takes_a_bounded_place() -> None:
    failures = Failures()
    for number in range(ADDRESSES_MAX * 3):
        failures.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", number)
    assert len(failures._known) == ADDRESSES_MAX
