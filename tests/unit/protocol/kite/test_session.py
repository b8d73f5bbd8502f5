import hashlib

import pytest

from kitefeed.protocol.kite.session import checksum, login_url, request_token_from_redirect

TOKEN = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7cF0xL"


def test_the_checksum_is_the_sha256_of_the_three_joined() -> None:
    expected = hashlib.sha256(b"keytokensecret").hexdigest()
    assert checksum("key", "token", "secret") == expected


def test_the_login_page_is_asked_for_by_api_key() -> None:
    page = "https://kite.zerodha.com/connect/login?v=3&api_key="
    assert login_url("abc123") == page + "abc123"
    assert login_url("a&b") == page + "a%26b"


@pytest.mark.parametrize(
    "text",
    [
        f"https://example.com/done?request_token={TOKEN}&action=login&status=success",
        f"http://127.0.0.1:8000/?action=login&type=login&status=success&request_token={TOKEN}\n",
        f"http://127.0.0.1:8000/?status=success&request_token={TOKEN}#top",
        f"?request_token={TOKEN}&action=login&status=success",
        f"request_token={TOKEN}&action=login&status=success",
        f"  {TOKEN}\n",
        f'"http://127.0.0.1/?status=success&request_token={TOKEN}"\n',
        f"'http://127.0.0.1/?status=success&request_token={TOKEN}'",
        f"“http://127.0.0.1/?request_token={TOKEN}&status=success”",
        f"<http://127.0.0.1/?status=success&request_token={TOKEN}>",
        f"\ufeffhttp://127.0.0.1/?status=success&request_token={TOKEN}\r\n",
        f"http://127.0.0.1/?status=success&amp;request_token={TOKEN}&amp;action=login",
        f"http://127.0.0.1/?status=success&amp;amp;request_token={TOKEN}&#38;action=login",
        f"http://127.0.0.1/\\?status\\=success\\&request_token\\={TOKEN}",
        f"http%3A%2F%2F127.0.0.1%2F%3Fstatus%3Dsuccess%26request_token%3D{TOKEN}",
        f"`{TOKEN}`",
    ],
)
def test_the_request_token_is_found_in_what_a_user_pastes(text: str) -> None:
    assert request_token_from_redirect(text) == TOKEN


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"https://e.com/?request_token={TOKEN}&status=error", "did not succeed"),
        (f"https://e.com/?request_token={TOKEN}&action=logout&status=success", "did not succeed"),
        (f"https://e.com/?request_token={TOKEN}&status=success&status=error", "did not succeed"),
        ("https://e.com/?action=login&status=success", "no request_token"),
        ("https://e.com/?action=login&status=success&request_token=", "no request_token"),
        (f"https://e.com/?request_token={TOKEN}&request_token=other1", "damaged"),
        ("https://e.com/?request_token=a b&status=success", "damaged"),
        ("http://[bad", "neither"),
        ("https://kite.zerodha.com/connect/login?v=3&api_key=abc", "address of the login page"),
        ("", "no request_token"),
        ("log me in please", "no request_token"),
    ],
)
def test_anything_else_is_refused_in_one_sentence_without_the_token(
    text: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as refusal:
        request_token_from_redirect(text)
    assert TOKEN not in str(refusal.value)
