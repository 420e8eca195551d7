"""The root directory of a container that runs, as a descriptor: that of its first process,
which shows all that is mounted there.

The link /proc/PID/root is the kernel's own: nothing that the container makes leads it elsewhere. What is opened below it is
opened with linux/beneath.py.
"""

from __future__ import annotations

import os
import time

from cratebox.errors import Conflict, CrateError, RuntimeFailure
from cratebox.linux import const, process
from cratebox.runtime.state import State

_SECONDS_CLOSED = 0.25  # as long as it may take from the gate to the program, or from the program's end to the process's
_PAUSE = 0.005


def await_view(state: State) -> None:
    """Wait until we may look into the container's first process (ptrace(2), "Ptrace access mode checking").

    An ordinary user may look into no process that is about to execute its program, nor on some kernels into one that is ending:
    both pass. Raises FileNotFoundError where the process has ended, PermissionError where it stays closed.
    """
    end = time.monotonic() + _SECONDS_CLOSED
    while True:
        try:
            os.readlink(f"/proc/{state.pid}/root")
        except PermissionError:
            if process.start_time(state.pid) != state.started:
                raise FileNotFoundError(2, "the container's first process has ended") from None
            if time.monotonic() > end:
                raise
        else:
            return
        time.sleep(_PAUSE)


def is_inside(state: State) -> bool:
    """Tell whether the container's first process has changed to its root; until then its root is the host's."""
    try:
        await_view(state)
        return not os.path.samestat(os.stat(f"/proc/{state.pid}/root"), os.stat("/"))
    except FileNotFoundError:
        return False  # it has just ended
    except PermissionError:
        return True  # `open_root` will tell


def open_root(state: State) -> int:
    """Return an O_PATH descriptor of the container's root. Raises Conflict where it has ended,
    or is not there yet, RuntimeFailure.
    """
    try:
        await_view(state)
        root = os.open(f"/proc/{state.pid}/root", const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise no_way_in(error) from None
    # The number could be another process's by now, and its root the host's.
    if process.start_time(state.pid) != state.started or os.path.samestat(os.fstat(root), os.stat("/")):
        os.close(root)
        raise _ended()
    return root


def no_way_in(error: OSError) -> CrateError:
    """Return what to say where the kernel did not let us look at the container's first process."""
    if isinstance(error, FileNotFoundError):
        return _ended()
    return RuntimeFailure(
        f"cannot enter the container: {(error.strerror or '').lower()}",
        "where its program cannot be read, a running container can be entered by root alone",
    )


def _ended() -> Conflict:
    return Conflict("the container has just ended", "crate ps -a tells how")
