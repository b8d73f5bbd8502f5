"""An index stands still while shares trade, and quotes tell little: nothing else may suffer."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kitefeed import Feed
from kitefeed.protocol.clock import boot_ns
from tests.faults.test_kite_faults import handshakes
from tests.faults.test_process_faults import seconds_since
from tests.integration.rig import Rig
from tests.support import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

INDEX, INDEX_TOKEN = "NSE:NIFTY 50", 256265
SHARE, OTHER = "NSE:INFY", "NSE:TCS"
STALE_WITHIN_S = 7.0  # five of silence, one to look, one for a heartbeat


class Meddler:
    """Stands before the simulator's REST routes, and changes what quotes say."""

    def __init__(self, upstream: str) -> None:
        self.lacking: str | None = None  # a token of which there is no quote
        self.more = 0.0  # rupees: quotes are so much above the stream
        meddler = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = meddler._fetch(upstream + self.path, dict(self.headers))
                if self.path.startswith("/quote") and status == 200:
                    body = meddler._changed(body)
                self.send_response(status)
                for name in ("Content-Type", "Content-Encoding"):
                    if name in headers:
                        self.send_header(name, headers[name])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _fetch(self, url: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        headers.pop("Host", None)
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:  # noqa: S310
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def _changed(self, body: bytes) -> bytes:
        answer = json.loads(body)
        answer["data"].pop(self.lacking, None)
        for item in answer["data"].values():
            item["last_price"] += self.more
        return json.dumps(answer).encode()


@contextmanager
def daemon(*instruments: str, frozen: int | None = None) -> Iterator[tuple[Rig, Meddler]]:
    """A daemon whose quotes come through a meddler; `frozen` never ticks."""
    with Rig(instruments=instruments) as rig:
        meddler = Meddler(rig.simulator.ready["rest"])
        try:
            config = rig.config.read_text()
            rig.config.write_text(config.replace(rig.simulator.ready["rest"], meddler.url))
            if frozen is not None:
                rig.simulator.fault("freeze", frozen)
            rig.start()
            yield rig, meddler
            rig.stop()
        finally:
            meddler.close()


def watch(feed: Feed, seconds: float) -> None:
    """The share reads fresh whenever one looks, and the index never does."""
    start_ns = boot_ns()

    def is_over() -> bool:
        assert feed[SHARE].is_fresh
        assert not feed[INDEX].is_fresh
        return seconds_since(start_ns) > seconds

    eventually(is_over, seconds + 5, every_s=0.1)


def held_lines(rig: Rig, level: str) -> list[str]:
    return [
        line for line in rig.output().splitlines() if "condition=held" in line and level in line
    ]


@pytest.mark.parametrize("quotes", ["answered", "502", "lacking"])
def test_a_frozen_index_makes_no_share_stale_and_costs_no_socket(quotes: str) -> None:
    with daemon(INDEX, SHARE) as (rig, meddler), rig.feed(INDEX, SHARE) as feed:
        eventually(lambda: feed[INDEX].is_fresh and feed[SHARE].is_fresh, 10)
        start_ns = boot_ns()
        eventually(lambda: seconds_since(start_ns) > 6, 8)  # it is seen to be quick
        meddler.lacking = str(INDEX_TOKEN) if quotes == "lacking" else None
        if quotes == "502":
            rig.simulator.fault("rest_status", 502)
        rig.simulator.fault("freeze", INDEX_TOKEN)
        eventually(lambda: not feed[INDEX].is_fresh, STALE_WITHIN_S)
        watch(feed, 35)
        assert len(handshakes(rig, 101)) == 1
        status = rig.status()
        ((held,), reason) = (status["held"], status["reason"])
        assert (held["silent"], held["held"]) == ([INDEX], "INDICES")
        assert (status["feed"], INDEX in reason) == ("live", True)
        assert f"INDICES: {INDEX}" in rig.kitefeed("status").stdout
        (line,) = held_lines(rig, "WARNING")
        assert f"{INDEX} is silent" in line
        rig.simulator.fault("clear")
        eventually(lambda: feed[INDEX].is_fresh, 5)
        assert len(eventually(lambda: held_lines(rig, "INFO"), 4)) == 1
        assert rig.status()["held"] == []


@pytest.mark.parametrize("quotes", ["answered", "502"])
def test_an_index_that_never_ticks_makes_no_share_stale_and_costs_no_socket(quotes: str) -> None:
    with (
        daemon(INDEX, SHARE, frozen=INDEX_TOKEN) as (rig, _),
        rig.feed(INDEX, SHARE) as feed,
    ):
        if quotes == "502":
            rig.simulator.fault("rest_status", 502)
        eventually(lambda: feed[SHARE].is_fresh and not feed[INDEX].is_fresh, 10)
        watch(feed, 30)
        assert len(handshakes(rig, 101)) == 1


def test_a_silent_list_whose_quotes_differ_for_long_costs_one_socket() -> None:
    with daemon(SHARE, OTHER) as (rig, meddler), rig.feed(SHARE, OTHER) as feed:
        eventually(lambda: feed[SHARE].is_fresh and feed[OTHER].is_fresh, 10)
        rig.simulator.fault("market", "closed")
        meddler.more = 1.0  # a settlement price
        eventually(lambda: len(handshakes(rig, 101)) == 2, 20)
        start_ns = boot_ns()
        eventually(lambda: seconds_since(start_ns) > 60, 65, every_s=1)
        assert len(handshakes(rig, 101)) == 2
        assert not feed[SHARE].is_fresh
        meddler.more = 0.0
        rig.simulator.fault("market", "open")
        eventually(lambda: feed[SHARE].is_fresh and feed[OTHER].is_fresh, 10)
