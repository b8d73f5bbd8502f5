"""Code that a process under test runs first, so that its disk fails when the test says so."""

# While the file {flag} exists, a call of {name} is the death of the process, or meets a full disk.
DIES = """
import os, pathlib, signal
def call(*arguments, real={name}):
    if os.path.exists({flag!r}) and not {is_after}:
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*arguments)
    if os.path.exists({flag!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    return result
{name} = call
"""
LOGS = """
import os
os.dup2(os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
"""
FULL = """
import os, errno
def fsync(handle, real=os.fsync):
    if os.path.exists({flag!r}):
        open({flag!r}, "a").write("x")  # one for each try
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real(handle)
os.fsync = fsync
"""
