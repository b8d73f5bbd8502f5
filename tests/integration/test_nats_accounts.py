"""The server's configuration of `deploy/nats`: who may publish, who may read, and nobody else."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nkeys
import pytest
from nats.aio.client import Client

from kitefeed import BadInput, ConfigError, Feed, Unavailable
from kitefeed.client import nats_wire
from tests.integration.broadcaster_kit import item
from tests.integration.nats_kit import PATIENT_S, SERVER, NatsServer, NatsStage, asked
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
CONF = Path(__file__).parents[2] / "deploy/nats/nats-server.conf"


def make_key(stage: NatsStage, name: str) -> tuple[str, Path]:
    """By the command: the public key, and the file of the seed."""
    done = subprocess.run(
        [sys.executable, "-m", "kitefeed.cli", "keys", "--nats", name],
        env={**os.environ, "KITEFEED_CONFIG": str(stage.config)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip(), stage.state / "keys/nats" / f"{name}.nk"


@pytest.fixture
def stage() -> Iterator[NatsStage]:
    server = NatsServer()
    with NatsStage(server.url) as made:
        publisher, publisher_file = make_key(made, "publisher")
        reader, _ = make_key(made, "reader")
        text = CONF.read_text()
        text = text.replace("PUBLISHER_PUBLIC_KEY", publisher).replace("READER_PUBLIC_KEY", reader)
        text = text.replace("127.0.0.1:4222", f"127.0.0.1:{server.port}")
        server.config.write_text(text.replace("/var/lib/nats", f"{server.directory}/store"))
        with made.config.open("a") as config:
            config.write(f'nkey = "{publisher_file}"\n')
        with server:
            yield made


def test_a_reader_with_its_key_reads_and_cannot_publish(stage: NatsStage) -> None:
    source = stage.live_bridge()
    source.send([item("NSE:INFY", 1_500_05)])
    key = stage.state / "keys/nats/reader.nk"
    feed = stage.nats_feed("NSE:INFY", credentials=key, since="00:00")
    eventually(lambda: feed.get("NSE:INFY") is not None and feed["NSE:INFY"].is_fresh, PATIENT_S)
    assert "nats_refused" not in stage.bridge_log()

    async def publish(client: Client) -> AsyncIterator[bytes]:
        await client.publish("kite.tick.NSE.INFY", b"a lie")
        # What is answered was asked behind it. `flush` proves nothing: its PING overtakes.
        yield (await client.request("kite.ask", timeout=PATIENT_S * slowness())).data

    told: list[str] = []
    login = nats_wire.login_of(key, False)
    assert asked(stage.url, publish, login, told.append)
    assert any("permissions violation" in text.lower() for text in told)
    assert feed.bad_messages == 0


@pytest.mark.parametrize("key", ["nobody", "publisher.nk of another server"])
def test_who_has_no_key_of_the_server_reads_nothing(stage: NatsStage, key: str) -> None:
    credentials = None if key == "nobody" else make_key(stage, "stranger")[1]
    with pytest.raises(Unavailable, match=r"(?i)authorization|nonce"):
        Feed(endpoint=stage.url, credentials=credentials, timeout_s=3)


def test_a_key_that_others_can_read_is_refused(stage: NatsStage) -> None:
    key = stage.state / "keys/nats/reader.nk"
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Feed(endpoint=stage.url, credentials=key)


@pytest.mark.parametrize(
    "endpoint", ["nats://", "nats://user:secret@127.0.0.1:4222", "nats://a:4222/x,nats://b:4222/y"]
)
def test_what_is_no_address_is_a_sentence_that_repeats_no_password(endpoint: str) -> None:
    with pytest.raises(BadInput) as error:
        Feed(endpoint=endpoint)
    assert "secret" not in str(error.value)


def test_the_server_takes_the_configuration_as_it_is_but_for_the_keys(tmp_path: Path) -> None:
    def key(found: re.Match[str]) -> str:
        seed = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
        return str(nkeys.from_seed(seed).public_key.decode())

    path = tmp_path / "nats.conf"
    path.write_text(re.sub(r"\w+_PUBLIC_KEY", key, CONF.read_text()))
    done = subprocess.run([SERVER, "-c", path, "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
