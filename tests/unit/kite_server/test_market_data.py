import pytest

from kitefeed.kite_server.market_data import accepts_gzip


@pytest.mark.parametrize(
    ("header", "is_accepted"),
    [
        ("gzip", True),
        ("gzip, deflate", True),
        ("deflate;q=0.5, GZIP;q=0.1", True),
        ("*", True),
        ("x-gzip", True),
        ("", False),
        ("identity", False),
        ("br, deflate", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("gzip;q=much", False),
    ],
)
def test_gzip_is_for_who_names_it_with_a_weight_above_zero(header: str, is_accepted: bool) -> None:
    assert accepts_gzip(header) is is_accepted
