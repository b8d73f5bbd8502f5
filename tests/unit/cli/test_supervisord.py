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


WAKES_SUPERVISORD = """
import signal
from supervisor.options import ServerOptions
from kitefeed.cli.supervisord import Waker
waker = Waker()
waker.install()
signal.signal(signal.SIGUSR1, lambda *_: None)
waited_for = ServerOptions.get_socket_map(None)  # what its loop waits for beside its programs
[(descriptor, found)] = [item for item in waited_for.items() if item[1] is waker]
poller = ServerOptions().poller
assert found.readable() and not found.writable()
poller.register_readable(descriptor)
assert poller.poll(0) == ([], [])
signal.raise_signal(signal.SIGUSR1)
for _ in range(2):  # the dead are collected in one round, and started again in the next
    assert poller.poll(0) == ([descriptor], [])
    found.handle_read_event()
assert poller.poll(0) == ([], [])
found.handle_error()
assert descriptor not in waited_for
signal.raise_signal(signal.SIGUSR1)
assert poller.poll(0) == ([], [])
"""


def test_a_signal_ends_two_waits_of_the_loop_that_supervisord_has_until_one_fails() -> None:
    subprocess.run([sys.executable, "-c", WAKES_SUPERVISORD], check=True, timeout=20)


LOGS_INTO_A_FULL_DISK = """
from supervisor.loggers import getLogger, handle_file
from kitefeed.cli.supervisord import say_once_that_the_log_is_lost
say_once_that_the_log_is_lost()
logger = getLogger()
handle_file(logger, "/dev/full", "%(message)s")
for _ in range(3):
    logger.warn("x")
"""


def test_a_full_disk_behind_the_log_is_one_sentence_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGS_INTO_A_FULL_DISK], capture_output=True, text=True, check=True
    )
    assert done.stderr.startswith("kitefeed: the log cannot be written ([Errno 28]")
    assert done.stderr.count("\n") == 1
