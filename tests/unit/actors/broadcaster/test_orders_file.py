"""Tests the broadcaster's memory of orders, on a real disk."""

import asyncio
from pathlib import Path

import pytest

from kitefeed.actors.broadcaster import process
from kitefeed.actors.broadcaster.orders import FILE_NAME, Orders, decode_file
from kitefeed.actors.broadcaster.process import OrdersFile
from kitefeed.protocol.clock import boot_ns, utc_ns
from tests.unit.actors.broadcaster.test_orders import item, row


def tell(orders: Orders, order_id: str) -> None:
    assert orders.is_news(item(row(order_id)), boot_ns(), utc_ns())


def known(path: Path) -> set[bytes]:
    return set(decode_file(path.read_bytes()).known)


def test_an_update_is_on_disk_as_soon_as_it_was_published_and_known_to_the_next(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        file = OrdersFile(tmp_path, asyncio.get_running_loop())
        tell(file.orders, "1")
        file.save()
        tell(file.orders, "2")  # while that is written
        file.save()
        await file.saved()
        assert known(tmp_path / FILE_NAME) == {b"order/1", b"order/2"}
        assert not file.orders.has_changed
        again = OrdersFile(tmp_path, asyncio.get_running_loop())
        assert known(tmp_path / FILE_NAME) == set(again.orders._known)

    asyncio.run(scenario())


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        file = OrdersFile(tmp_path, asyncio.get_running_loop())
        tell(file.orders, "1")
        file.save()
        await file.saved()

    asyncio.run(scenario())
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_disk_that_fails_is_tried_again_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "SAVE_AGAIN_NS", 0)

    async def scenario() -> None:
        (tmp_path / "state").write_text("a file where the directory should be")
        file = OrdersFile(tmp_path / "state", asyncio.get_running_loop())
        tell(file.orders, "1")
        for _ in range(3):
            file.save()
            await file.saved()
            assert file.is_failing
        (tmp_path / "state").unlink()
        tell(file.orders, "2")
        file.save()
        await file.saved()
        assert not file.is_failing
        assert known(tmp_path / "state" / FILE_NAME) == {b"order/1", b"order/2"}

    asyncio.run(scenario())
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


def test_a_damaged_file_is_set_aside_and_the_orders_begin_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\x93\x01\xc4\x00\xc4\x00")

    async def scenario() -> None:
        file = OrdersFile(tmp_path, asyncio.get_running_loop())
        assert not file.orders.accounts

    asyncio.run(scenario())
    assert (tmp_path / f"{FILE_NAME}.damaged").exists()
    assert "updates of orders start empty" in caplog.text
