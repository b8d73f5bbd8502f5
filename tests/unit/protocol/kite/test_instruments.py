from datetime import date

import pytest
from kiteconnect import KiteConnect

from kitefeed.protocol.kite.instruments import DumpRow, format_dump, parse_dump

HEADER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,"
    "lot_size,instrument_type,segment,exchange"
)
INFY_ROW = "408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE"
NIFTY_ROW = "256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE"
OPTION_ROW = (
    '11421186,44614,NIFTY26NOV24500CE,"NIFTY, ""50""",124.95,2026-11-24,24500,0.05,65,'
    "CE,NFO-OPT,NFO"
)
DUMP = "\n".join([HEADER, INFY_ROW, NIFTY_ROW, OPTION_ROW]) + "\n"

INFY = DumpRow(408065, 1594, "INFY", "INFOSYS", 0.0, "", 0.0, 0.05, 1, "EQ", "NSE", "NSE")
NIFTY = DumpRow(256265, 1001, "NIFTY 50", "NIFTY 50", 0.0, "", 0.0, 0.0, 0, "EQ", "INDICES", "NSE")
OPTION = DumpRow(
    11421186,
    44614,
    "NIFTY26NOV24500CE",
    'NIFTY, "50"',
    124.95,
    "2026-11-24",
    24500.0,
    0.05,
    65,
    "CE",
    "NFO-OPT",
    "NFO",
)


def test_every_column_is_read_with_its_type() -> None:
    rows = parse_dump(DUMP)
    assert list(rows) == [INFY, NIFTY, OPTION]
    assert not rows.left_out


def test_an_instrument_is_known_by_exchange_and_symbol() -> None:
    assert [row.key for row in parse_dump(DUMP)] == [
        "NSE:INFY",
        "NSE:NIFTY 50",
        "NFO:NIFTY26NOV24500CE",
    ]


@pytest.mark.parametrize(
    "dump",
    [
        DUMP.splitlines(),
        DUMP.splitlines(keepends=True),
        DUMP.replace("\n", "\r\n"),
        "\ufeff" + DUMP,
    ],
    ids=["lines", "lines with ends", "CRLF", "byte order mark"],
)
def test_a_dump_is_read_whatever_its_line_ends_are(dump: str | list[str]) -> None:
    assert list(parse_dump(dump)) == [INFY, NIFTY, OPTION]


def test_a_dump_is_written_as_it_was_read() -> None:
    assert format_dump([INFY, NIFTY, OPTION]) == DUMP
    assert format_dump([]) == HEADER + "\n"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("408065,1594,INFY", "no usable exchange"),
        (INFY_ROW + ",more", "more columns than the header names"),
        (INFY_ROW.replace("INFOSYS", "INFOSYS, LTD"), "more columns than the header names"),
        (INFY_ROW.replace("408065", "x"), "no usable token"),
        (INFY_ROW.replace("408065", "0"), "no usable token"),
        (INFY_ROW.replace("408065", "-5"), "no usable token"),
        (INFY_ROW.replace("408065", "4_08065"), "no usable token"),
        (INFY_ROW.replace("408065", "408065.5"), "no usable token"),
        (INFY_ROW.replace("408065", "4294967296"), "no usable token"),
        (INFY_ROW.replace("INFY", ""), "no usable symbol"),
        (INFY_ROW.replace("INFY", "  "), "no usable symbol"),
        (INFY_ROW.replace("INFY", "IN\x00FY"), "no usable symbol"),
        (INFY_ROW.replace("NSE,NSE", "NSE,"), "no usable exchange"),
        (INFY_ROW.replace("NSE,NSE", "NSE,N:E"), "no usable exchange"),
        (INFY_ROW.replace("INFOSYS", '"INFOSYS'), "quotes that do not close"),
        ("rubbish \x00\xff", "no usable token"),
    ],
)
def test_a_row_that_names_nothing_is_counted_by_reason_and_costs_no_other(
    row: str, reason: str
) -> None:
    rows = parse_dump([HEADER, INFY_ROW, row, NIFTY_ROW])
    assert list(rows) == [INFY, NIFTY]
    assert rows.left_out == {reason: 1}


@pytest.mark.parametrize(
    ("row", "field", "value"),
    [
        (INFY_ROW.replace("0.05", "nan"), "tick_size", 0.0),
        (INFY_ROW.replace("0.05", "five paise"), "tick_size", 0.0),
        (INFY_ROW.replace(",,", ",soon,"), "expiry", ""),
        (INFY_ROW.replace(",,", ",2026-11-24 00:00:00,"), "expiry", "2026-11-24"),
        (INFY_ROW.replace("0.05,1,", "0.05,-1,"), "lot_size", 0),
        (INFY_ROW.replace("1594", ""), "exchange_token", 1594),
        (INFY_ROW.replace("INFOSYS", "INF\x07OSYS"), "name", "INFOSYS"),
        (INFY_ROW.replace("EQ", ""), "instrument_type", ""),
        (INFY_ROW.replace("408065", " 408065.0 "), "name", "INFOSYS"),
        (INFY_ROW + ",,", "name", "INFOSYS"),
    ],
)
def test_an_odd_side_field_costs_the_field_and_not_the_row(
    row: str, field: str, value: object
) -> None:
    rows = parse_dump([HEADER, row])
    (instrument,) = rows
    assert (instrument.key, instrument.instrument_token) == ("NSE:INFY", 408065)
    assert getattr(instrument, field) == value
    assert not rows.left_out


@pytest.mark.parametrize(
    "dump",
    [
        "exchange,tradingsymbol,instrument_token\nNSE,INFY,408065\n",
        "isin,instrument_token,exchange,freeze_qty,tradingsymbol\nINE,408065,NSE,7,INFY\n",
        'Instrument_Token ,"tradingsymbol", Exchange\n408065, INFY ,NSE\n',
        "exchange,tradingsymbol,instrument_token,name\nNSE,INFY,408065\n",
    ],
    ids=["only what is needed", "new columns", "capitals and quotes", "a short row"],
)
def test_columns_are_found_by_name(dump: str) -> None:
    rows = parse_dump(dump)
    assert [(row.key, row.instrument_token) for row in rows] == [("NSE:INFY", 408065)]
    assert not rows.left_out


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "token,symbol\n1,2\n",
        HEADER.replace("exchange,", "exchanges,").replace(",exchange", ""),
        HEADER + ",tradingsymbol\n",
        '"' + HEADER,
    ],
)
def test_a_header_without_what_is_needed_is_refused_before_any_row(text: str) -> None:
    with pytest.raises(ValueError, match="no instrument dump"):
        parse_dump(text)


def test_a_dump_cut_anywhere_after_its_header_gives_the_rows_before_the_cut() -> None:
    for cut in range(len(HEADER) + 1, len(DUMP)):
        rows = parse_dump(DUMP[:cut])
        whole = DUMP[len(HEADER) + 1 : cut].count("\n")
        assert list(rows)[:whole] == [INFY, NIFTY, OPTION][:whole]
        assert rows.left_out.total() <= 1


def test_the_official_client_reads_what_we_write() -> None:
    official = KiteConnect("key")._parse_instruments(format_dump([INFY, OPTION]).encode())
    assert [row["tradingsymbol"] for row in official] == ["INFY", "NIFTY26NOV24500CE"]
    assert (official[1]["expiry"], official[1]["strike"]) == (date(2026, 11, 24), 24500.0)
