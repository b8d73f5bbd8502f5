"""Bars of one minute of ticks that are decoded already. Beside them what bots do with the official
client's dictionaries, equally decoded: a candle per token and minute in a dict, which knows neither
late ticks nor gaps.
"""

from datetime import datetime
from typing import Any

from kiteconnect import KiteTicker

from benchmarks import subject
from benchmarks.frames import LISTED, Shape, Universe, packets_of, token_of
from benchmarks.parts import TROUBLE, Context, decode
from benchmarks.table import Row, compared
from kitefeed.client.bars import Bars
from kitefeed.client.tick import NOBODY, Arrival, Tick
from kitefeed.protocol.feed import Source, decode_body
from kitefeed.protocol.kite.units import NS_PER_S

PART = "bars"
SHAPES = (Shape("full", 500, 1), Shape("quote", 500, 1))
_KEYS = dict(Universe(LISTED).all)


def measure(context: Context) -> list[Row]:
    rows: list[Row] = []
    for shape in SHAPES:
        context.say(f"bars: {shape.packets} {shape.mix}")
        try:
            rows.append(_row(context.reps, shape))
        except TROUBLE as error:
            context.fail(f"bars, {shape.mix}", None, error)
    return rows


def _row(reps: int, shape: Shape) -> Row:
    frame = decode.frame_of(shape)
    dicts: list[dict[str, Any]] = KiteTicker("key", "token")._parse_binary(frame)
    bodies = [decode_body(body) for body in subject.recode(frame)]
    sent_s = int(datetime.now().timestamp())
    for body in bodies:
        body.exchange_timestamp = body.exchange_timestamp and sent_s
    now_ns = sent_s * NS_PER_S
    arrival = Arrival(1, 0, 1, Source.WEBSOCKET, now_ns, 0, 0, NOBODY, 0)
    names = [_KEYS[token_of(packet)] for packet in packets_of(frame)]
    ticks = [Tick(name, body, 0, 0, arrival) for name, body in zip(names, bodies, strict=True)]
    bars, candles = Bars("1m"), dict[tuple[int, datetime], list[float]]()

    def ours() -> None:
        take = bars.take
        for tick in ticks:
            take(tick, now_ns)

    def theirs() -> None:
        for each in dicts:
            at = each.get("exchange_timestamp") or datetime.now()
            price, key = (
                each["last_price"],
                (each["instrument_token"], at.replace(second=0, microsecond=0)),
            )
            candle = candles.get(key)
            if candle is None:
                candles[key] = [price, price, price, price, each["volume_traded"]]
            else:
                candle[1], candle[2] = max(candle[1], price), min(candle[2], price)
                candle[3], candle[4] = price, each["volume_traded"]

    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(reps):
        times["ours"].append(decode.ns_of(ours) / shape.packets)
        times["theirs"].append(decode.ns_of(theirs) / shape.packets)
    _assert_right(bars, ticks)
    row = compared(PART, f"{shape.mix}: bars of 1m", "ns/tick", times["ours"], times["theirs"])
    row.note = "beside it a dict of candles"
    return row


def _assert_right(bars: Bars, ticks: list[Tick]) -> None:
    made = {bar.instrument: bar for bar in bars.under_way()}
    if {name: bar.close for name, bar in made.items()} != {
        t.instrument: t.last_price for t in ticks
    }:
        raise ValueError("the bars have other prices than the ticks")
