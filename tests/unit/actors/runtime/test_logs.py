"""Each in a process of its own: logging belongs to the process."""

import subprocess
import sys

SET_UP = "from kitefeed.actors.runtime import logs\nlog = logs.set_up('ticker')\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SET_UP + code], capture_output=True, text=True, check=True
    )


def test_a_line_goes_to_stderr_once_with_its_role() -> None:
    done = run("logs.set_up('ticker')\nlog.info('connected epoch=%d', 7)\nlogs.drain()")
    assert done.stdout == ""
    assert done.stderr.count("INFO ticker connected epoch=7") == 1


def test_libraries_that_repeat_themselves_are_silent() -> None:
    done = run(
        "import logging\n"
        "for name in ('kiteconnect', 'kiteconnect.ticker', 'twisted', 'autobahn', 'urllib3'):\n"
        "    logging.getLogger(name).error('refused again')\n"
        "logs.drain()"
    )
    assert done.stderr == ""


def test_a_reader_that_stopped_reading_does_not_stop_the_program() -> None:
    code = SET_UP + (
        "for number in range(20_000):\n"
        "    log.info('line %d %s', number, 'x' * 100)\n"
        "print('done', flush=True)\n"
        "import os\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"  # nobody has read its stderr
        child.wait(10)


def test_a_reader_that_goes_on_is_told_how_many_lines_it_missed() -> None:
    code = SET_UP + (
        "import sys\n"
        "for number in range(5_000):\n"
        "    log.info('line %d %s', number, 'x' * 100)\n"
        "print('written', flush=True)\n"
        "sys.stdin.readline()\n"
        "logs.drain(10)\n"
        "log.info('the end')\n"
        "logs.drain(10)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"  # nobody has read its stderr
        _, errors = child.communicate("go on\n", timeout=20)
    *lines, missed, end = errors.splitlines()
    assert end.endswith("the end")
    assert missed == f"(log reader was stuck: {5_000 - len(lines)} lines dropped)"
    assert [line.split()[5] for line in lines] == [str(number) for number in range(len(lines))]


def test_draining_ends_in_time_when_nobody_reads() -> None:
    code = SET_UP + "log.info('x' * 1_000_000)\nlogs.drain(0.2)\nprint('done', flush=True)\n"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        child.kill()


def test_what_nobody_caught_is_redacted_too() -> None:
    code = SET_UP + (
        "import threading\n"
        "from kitefeed.actors.runtime.secrets import Secret, remember\n"
        "remember(Secret('tok3nTok3n'))\n"
        "def fail():\n"
        "    raise ValueError('tok3n' 'Tok3n in a thread')\n"
        "thread = threading.Thread(target=fail)\n"
        "thread.start()\n"
        "thread.join()\n"
        "raise ValueError('tok3n' 'Tok3n in the end')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "*** in a thread" in done.stderr
    assert "*** in the end" in done.stderr
    assert "tok3nTok3n" not in done.stderr
