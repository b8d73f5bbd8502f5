"""What the call and the put at the money cost together. It says when ticks are missing.

python examples/straddle.py NIFTY weekly
"""

import sys

from kitefeed import Feed, Gap, KitefeedError, atm


def say(*told: object) -> None:
    gap = Gap(*told)  # type: ignore[arg-type]
    names = ", ".join(gap.instruments) or "any instrument"
    print(f"-- {gap.reason} {'healed' if gap.healed else ''}: {names}", flush=True)


def main(underlying: str = "NIFTY", expiry: str = "nearest") -> None:
    pair = atm(underlying, expiry)
    print(f"{pair.underlying} {pair.price:.2f}: {pair.call} and {pair.put}", flush=True)
    with Feed(pair.call, pair.put, on_gap=say) as feed:
        for _ in feed:
            call, put = feed.get(pair.call), feed.get(pair.put)
            if call and put and call.is_fresh and put.is_fresh:
                print(f"straddle {call.last_price + put.last_price:.2f}", flush=True)


try:
    main(*sys.argv[1:])
except KeyboardInterrupt:
    pass
except KitefeedError as error:
    sys.exit(str(error))
