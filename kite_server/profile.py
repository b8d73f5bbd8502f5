"""The user, as `/user/profile` and a login give him."""

from datetime import datetime

from kitefeed.protocol.kite.units import IST

EXCHANGES = ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX", "NCO")


def profile(user_id: str, user_name: str) -> dict[str, object]:
    return {
        "user_id": user_id,
        "user_type": "individual",
        "email": f"{user_id.lower()}@example.com",
        "user_name": user_name,
        "user_shortname": user_name.split()[0],
        "broker": "ZERODHA",
        "exchanges": list(EXCHANGES),
        "products": ["CNC", "NRML", "MIS", "BO", "CO"],
        "order_types": ["MARKET", "LIMIT", "SL", "SL-M"],
        "avatar_url": None,
        "meta": {"demat_consent": "physical"},
    }


def session(
    of_user: dict[str, object], api_key: str, access_token: str, login_utc_s: int
) -> dict[str, object]:
    """Return the answer to a login: the profile, and the token. An individual gets no refresh
    token."""
    return {
        **of_user,
        "api_key": api_key,
        "access_token": access_token,
        "public_token": "",
        "enctoken": "",
        "refresh_token": "",
        "silo": "",
        "login_time": datetime.fromtimestamp(login_utc_s, IST).strftime("%Y-%m-%d %H:%M:%S"),
    }
