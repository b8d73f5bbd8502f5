"""Everything that streams as columns, written to a CSV file: for those who look at it afterwards.

python examples/columns.py ticks.csv [SECONDS]
"""

import csv
import sys
import time

from kitefeed import Feed, KitefeedError

COLUMNS = ("t_rx_ns", "instrument_token", "last_price", "volume_traded", "exchange_timestamp")


def main(path: str, seconds: str = "inf") -> None:
    end_s = time.monotonic() + float(seconds)
    with Feed() as feed, open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow((*COLUMNS, "is_fresh"))
        while time.monotonic() < end_s:
            for batch in feed.batches(timeout_s=1):
                # Judged here, while it is read: written down, it says how it was.
                rows.writerows(
                    zip(*(getattr(batch, name) for name in COLUMNS), batch.is_fresh, strict=True)
                )
                file.flush()
                if time.monotonic() >= end_s:
                    break


try:
    main(*sys.argv[1:])
except KeyboardInterrupt:
    pass
except (KitefeedError, OSError, TypeError, ValueError) as error:
    sys.exit(str(error))
