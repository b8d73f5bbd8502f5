"""Which packets a frame holds: one kind, or kinds by weight.

    full                    every packet
    full:3,quote:2,ltp:1    three, two and one of six, spread evenly
    mixed                   a socket with subscriptions of all modes

| kind | bytes | what it is |
|---|---|---|
| ltp | 8 | token and last price |
| index-quote | 28 | an index |
| index | 32 | an index with its exchange time |
| quote | 44 | a tradable |
| full | 184 | a tradable with open interest and ten levels of depth |
| currency | 184 | the same of CDS and BCD: prices divided by 1e7 and 1e4 |

Tradables of `ltp`, `quote` and `full` are of all segments, currencies among them.
"""

from functools import cache

INDEX_KINDS = ("index", "index-quote")
KINDS = ("ltp", *INDEX_KINDS, "quote", "full", "currency")
NAMED = {"mixed": "full:3,quote:3,ltp:2,index:1,index-quote:1,currency:1"}
WEIGHTS_MAX = 1_000  # all together


class BadMix(ValueError):
    """Not a mix; the text says how one is written."""


@cache
def sequence(mix: str) -> tuple[str, ...]:
    """The kinds in turn. Raises BadMix."""
    weights = _weights(NAMED.get(mix, mix))
    total = sum(weights.values())
    if not 0 < total <= WEIGHTS_MAX:
        raise BadMix(f"the weights of {mix!r} make {total}; they have to make 1 to {WEIGHTS_MAX}")
    owed = dict.fromkeys(weights, 0)
    kinds = []
    for _ in range(total):
        for kind, weight in weights.items():
            owed[kind] += weight
        most = max(owed, key=owed.__getitem__)
        owed[most] -= total
        kinds.append(most)
    return tuple(kinds)


def _weights(mix: str) -> dict[str, int]:
    weights: dict[str, int] = {}
    for part in mix.split(","):
        kind, _, weight = part.strip().partition(":")
        if kind not in KINDS or not (weight or "1").isdecimal():
            raise BadMix(
                f"not a kind of packet with its weight: {part!r}. Write full, or full:3,ltp:1; "
                f"kinds are {', '.join((*KINDS, *NAMED))}"
            )
        weights[kind] = weights.get(kind, 0) + int(weight or "1")
    return weights
