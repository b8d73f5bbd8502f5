"""A strategy's skeleton: acts on fresh prices only, survives logins and restarts by doing nothing.

python examples/strategy.py NSE:INFY "NSE:NIFTY 50"
"""

import sys

from kitefeed import Feed, KitefeedError, Status


def say(status: Status) -> None:
    print(f"-- feed {status}, source {status.source} {status.reason}", flush=True)


try:
    with Feed(*sys.argv[1:], on_status=say) as feed:
        for tick in feed:
            word = tick.source if tick.is_fresh else f"{tick.source}, do not trade"
            print(
                f"{tick.instrument:24} {tick.last_price:12.2f} {tick.age_s:6.2f} s  {word}",
                flush=True,
            )
except KeyboardInterrupt:
    pass
except KitefeedError as error:
    sys.exit(str(error))
