"""The root directory of a container that runs, as a descriptor: that of its first process, which shows all that is mounted there.

The link /proc/PID/root is the kernel's own: nothing that the container makes leads it elsewhere. What is opened below it is opened
with linux/beneath.py.
"""

from __future__ import annotations

import os

from cratebox.errors import Conflict, CrateError, RuntimeFailure
from cratebox.linux import const, process
from cratebox.runtime.state import State


def is_inside(state: State) -> bool:
    """Tell whether the container's first process has changed to its root; until then its root is the host's."""
    try:
        return not os.path.samestat(os.stat(f"/proc/{state.pid}/root"), os.stat("/"))
    except FileNotFoundError:
        return False  # it has just ended
    except PermissionError:
        return True  # `open_root` will tell


def open_root(state: State) -> int:
    """Return an O_PATH descriptor of the container's root. Raises Conflict where it has ended, or is not there yet, RuntimeFailure."""
    try:
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
