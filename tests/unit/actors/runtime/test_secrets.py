import logging
import pickle

import pytest

from kitefeed.actors.runtime.logs import RedactingFormatter
from kitefeed.actors.runtime.secrets import (
    Secret,
    fingerprint_of,
    redact,
    remember,
)

TEXT = "tok3nTok3nTok3n"


def test_a_secret_cannot_be_printed_by_accident() -> None:
    secret = Secret(TEXT)
    shown = f"{secret} {secret!r} {secret:>20} {[secret]} {secret}"
    assert TEXT not in shown
    assert "***" in shown
    assert secret.reveal() == TEXT


def test_a_secret_does_not_cross_a_process_border() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(TEXT))


def test_secrets_are_compared_by_text() -> None:
    assert Secret(TEXT) == Secret(TEXT)
    assert Secret(TEXT) != Secret("other")
    assert len({Secret(TEXT), Secret(TEXT)}) == 1


def test_a_fingerprint_is_short_and_depends_on_app_and_token() -> None:
    prints = {
        fingerprint_of("a", Secret(TEXT)),
        fingerprint_of("b", Secret(TEXT)),
        fingerprint_of("a", Secret("another")),
    }
    assert len(prints) == 3
    assert all(len(each) == 12 for each in prints)


def test_a_remembered_secret_is_taken_out_of_any_text() -> None:
    remember(Secret(TEXT))
    assert redact(f"x{TEXT}y") == "x***y"


def test_a_short_word_is_not_taken_for_a_secret() -> None:
    remember(Secret("cat"))
    assert redact("a cat") == "a cat"


@pytest.mark.parametrize("name", ["access_token", "request_token", "api_secret", "enctoken"])
def test_what_looks_like_a_secret_in_a_url_is_taken_out(name: str) -> None:
    assert redact(f"wss://h/?a=1&{name}=unknown99&b=2") == f"wss://h/?a=1&{name}=***&b=2"


def test_a_traceback_is_redacted_too() -> None:
    remember(Secret(TEXT))
    try:
        raise ValueError(f"bad {TEXT}")
    except ValueError as error:
        record = logging.LogRecord(
            "n", logging.ERROR, "p", 1, "failed %s", (TEXT,), (ValueError, error, None)
        )
    line = RedactingFormatter("%(message)s").format(record)
    assert TEXT not in line
    assert "bad ***" in line
