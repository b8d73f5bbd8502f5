"""The loops that every tick passes, compiled, if there was a compiler when kitefeed was installed.
Each has a twin in Python that gives the same, and that runs where the compiled ones are missing.

    kitefeed.protocol.kite.repack        Kite's frame to bodies                   hot/frames.c
    kitefeed.actors.broadcaster.ticks    a batch to numbered messages             hot/batches.c
    kitefeed.client.view                 messages to ticks                        hot/intake.c

A twin chooses by `IS_COMPILED` when it is imported. `KITEFEED_PURE=1` forces Python.
"""

from kitefeed.protocol.location import is_pure_forced

# Of what passes between the loops and their callers. An extension that is older than its callers,
# as in a checkout that was pulled and not built, is as good as none.
REVISION = 3


def _is_there() -> bool:
    try:
        from kitefeed._hot import loops
    except ImportError:  # never built, or for another kind of machine
        return False
    return loops.REVISION == REVISION


IS_COMPILED = not is_pure_forced() and _is_there()
BUILD = "compiled" if IS_COMPILED else "pure Python"  # what people are told
