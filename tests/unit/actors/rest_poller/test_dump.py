"""The dump over real HTTP, whole and cut in every way that a server or a line can cut it."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from kitefeed.actors.rest_poller import dump
from kitefeed.actors.rest_poller.dump import BadTransfer, Fetched, fetch, main
from kitefeed.actors.runtime.instruments_db import offered_path
from kitefeed.protocol.instrument_list import InstrumentsDb
from kitefeed.protocol.kite.instruments import Listed

ROWS = 20_007
HEADER = "instrument_token,exchange_token,tradingsymbol,name,exchange"
TEXT = "\n".join(
    [HEADER, *(f"{(n << 8) + 1},{n},SHARE{n},A SHARE,NSE" for n in range(1, ROWS + 1)), ""]
).encode()
ZIPPED = gzip.compress(TEXT, mtime=0)
Answer = Callable[[BaseHTTPRequestHandler], None]


class Kite:
    """A server that answers as `answer` says."""

    def __init__(self) -> None:
        self.answer: Answer = sized(TEXT)
        self.headers: list[dict[str, str]] = []
        kite = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                kite.headers.append(dict(self.headers))
                kite.answer(self)
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def sized(body: bytes, length: int | None = None, **headers: str) -> Answer:
    """With a Content-Length, which may be a lie."""
    return sent(body, **{"Content-Length": str(len(body) if length is None else length), **headers})


def sent(body: bytes, status: int = 200, **headers: str) -> Answer:
    """With these headers and no other: the end of the connection is the end of the body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": "text/csv", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        with suppress(ConnectionError):  # who is told of an error may read no further
            handler.wfile.write(body)

    return answer


def chunked(body: bytes, *, is_ended: bool) -> Answer:
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part)
        for part in (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    )
    return sent(chunks + (b"0\r\n\r\n" if is_ended else b""), Transfer_Encoding="chunked")


GZIP = {"Content_Encoding": "gzip"}


@pytest.fixture
def kite() -> Iterator[Kite]:
    server = Kite()
    yield server
    server.stop()


@pytest.mark.parametrize(
    "answer",
    [
        sized(TEXT),
        sized(ZIPPED, **GZIP),
        sent(TEXT),
        sent(ZIPPED, **GZIP),
        chunked(TEXT, is_ended=True),
        sized(ZIPPED),
        sized(TEXT, **GZIP),
        sized(ZIPPED[:0] + gzip.compress(TEXT[:999]) + gzip.compress(TEXT[999:]), **GZIP),
        sized(TEXT.replace(b"\n", b"\r\n")),
        sized(TEXT.rstrip(b"\n")),
    ],
    ids=[
        "plain", "gzip", "plain without a length", "gzip without a length", "chunked",
        "gzip that nobody named", "named gzip and plain", "gzip in two members", "CRLF",
        "no line end at the end",
    ],
)  # fmt: skip
def test_a_whole_list_is_taken_however_it_is_sent(
    kite: Kite, tmp_path: Path, answer: Answer
) -> None:
    kite.answer = answer
    path = tmp_path / "instruments.sqlite"
    fetched = fetch(kite.url, path, "2026-11-24")
    assert (fetched.rows, fetched.left_out, fetched.losses) == (ROWS, {}, None)
    assert InstrumentsDb(offered_path(path)).resolve(["NSE:SHARE7"]) == {
        "NSE:SHARE7": Listed(7 << 8 | 1)
    }
    assert not path.exists()  # whether it is taken is decided elsewhere


@pytest.mark.parametrize(
    "answer",
    [
        sent(ZIPPED[: len(ZIPPED) * 6 // 10], **GZIP),
        sent(ZIPPED[:-1], **GZIP),
        sent(ZIPPED[:-8], **GZIP),
        sized(ZIPPED[: len(ZIPPED) * 6 // 10], **GZIP),
        sent(TEXT[: len(TEXT) * 6 // 10]),
        sized(TEXT[: len(TEXT) * 6 // 10], len(TEXT)),
        sized(ZIPPED[: len(ZIPPED) * 6 // 10], len(ZIPPED), **GZIP),
        chunked(TEXT, is_ended=False),
        chunked(TEXT[:120_000], is_ended=False),
        chunked(ZIPPED[: len(ZIPPED) * 6 // 10], is_ended=True),
        sent(b""),
        sent(ZIPPED[:100] + bytes(9) + ZIPPED[109:], **GZIP),
        sent(TEXT, status=502),
        sized(b'{"status":"error","message":"no"}', Content_Type="application/json"),
        sized(b"<html>maintenance</html>"),
        sized(HEADER.encode() + b"\n"),
    ],
    ids=[
        "gzip without a length", "gzip without its last byte", "gzip without its trailer",
        "gzip and the length of what is left", "plain inside a row", "plain and its length",
        "gzip and its length", "the last chunk", "chunks", "gzip in chunks that end",
        "nothing", "damaged gzip", "an error", "an error with 200", "a page", "no rows",
    ],
)  # fmt: skip
def test_a_cut_or_wrong_answer_is_an_error_and_leaves_no_list(
    kite: Kite, tmp_path: Path, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    kite.answer = answer
    path = tmp_path / "instruments.sqlite"
    assert main(["--url", kite.url, "--list", str(path), "--day", "2026-11-24"]) == 75
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_a_marked_end_two_answers_have_to_be_the_same(kite: Kite, tmp_path: Path) -> None:
    lines = TEXT.splitlines(keepends=True)
    answers = iter([b"".join(lines[:12_011]), b"".join(lines[:9_000])])
    kite.answer = lambda handler: sent(next(answers))(handler)
    with pytest.raises(BadTransfer, match="not the same twice"):
        fetch(kite.url, tmp_path / "list", "2026-11-24")


def test_a_dump_that_unzips_to_more_than_memory_is_refused(
    kite: Kite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dump, "BYTES_MAX", 100_000)
    for answer in (sized(ZIPPED, **GZIP), sized(TEXT), chunked(TEXT, is_ended=True)):
        kite.answer = answer
        with pytest.raises(BadTransfer, match="more than 100,000 bytes"):
            fetch(kite.url, tmp_path / "list", "2026-11-24")


def test_no_password_of_the_home_directory_goes_to_kite(
    kite: Kite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    fetch(kite.url, tmp_path / "list", "2026-11-24")
    assert "Authorization" not in kite.headers[0]


def test_a_list_is_compared_with_the_one_in_use_and_rows_left_out_are_counted(
    kite: Kite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "instruments.sqlite"
    fetch(kite.url, path, "2026-11-24")
    offered_path(path).replace(path)
    lines = TEXT.splitlines()[:12_012]
    bad = [b"none,1,A,A SHARE,NSE", b"7,1,\xff\xfe,A SHARE,NSE", lines[5]]
    kite.answer = sized(b"\n".join([*lines, *bad, b""]))
    assert main(["--url", kite.url, "--list", str(path), "--day", "2026-11-25"]) == 0
    fetched = msgspec.json.decode(capsys.readouterr().out, type=Fetched)
    assert fetched.rows == 12_011
    assert fetched.left_out == {
        "no usable token": 1, "no usable symbol": 1, "a name that comes twice": 1,
    }  # fmt: skip
    assert fetched.losses is not None
    (loss,) = fetched.losses
    assert (loss.had, loss.lost) == (ROWS, ROWS - 12_011)
    path.write_bytes(b"no database")
    assert fetch(kite.url, path, "2026-11-25").losses is None


def test_every_cut_of_a_gzip_is_noticed(kite: Kite) -> None:
    small = gzip.compress(TEXT[:400], mtime=0)
    for size in range(2, len(small)):
        kite.answer = sent(small[:size], **GZIP)
        with pytest.raises(BadTransfer):
            dump.download(kite.url)
    assert zlib.decompress(small, 31) == TEXT[:400]
