"""For every test."""

import os
import signal

from hypothesis import settings

# The ordinary run is the same each time, so that a red one is the change's fault. To look for more:
# `make test ARGS='--hypothesis-profile=search tests/property'`.
settings.register_profile("ordinary", derandomize=True)
settings.register_profile("search", max_examples=1_000)
settings.load_profile("ordinary")

# A shell without job control starts what it puts in the background with Ctrl-C ignored, and every
# process inherits that; those that tests interrupt would go on.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Processes that tests start write bytecode, however this run was started: hundreds of them would
# compile all modules anew, which doubles what a start costs.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
