import subprocess
import sys

CHILD_OF_SUPERVISORD = """
import os, signal, time
from kitefeed.cli.supervisord import let_children_end
signal.signal(signal.SIGTERM, lambda *_: None)
let_children_end()
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.write(writing, b".")
    time.sleep(30)
    os._exit(0)
os.read(reading, 1)
os.kill(child, signal.SIGTERM)
_, status = os.waitpid(child, 0)
assert os.WIFSIGNALED(status), status
signal.raise_signal(signal.SIGTERM)  # ours is handled as before
"""


def test_a_child_that_is_not_yet_its_program_ends_when_it_is_told_to() -> None:
    subprocess.run([sys.executable, "-c", CHILD_OF_SUPERVISORD], check=True, timeout=20)
