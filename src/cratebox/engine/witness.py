"""Whoever waits for the end of a container's process, and may be the only one that saw it:
its supervisor can be killed meanwhile.

A pidfd that was opened while the process lived tells how it ended, whoever its parent was (pidfd_open(2), Linux 6.15 or later),
or until it is reaped (proc(5)).
"""

from __future__ import annotations

import os

from cratebox.engine import records
from cratebox.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.paths import Paths
    from cratebox.runtime.state import State


class Witness:
    """Holds the process of `state` by `pidfd`, until `close`."""

    def __init__(self, state: State, pidfd: int) -> None:
        self.state, self.pidfd = state, pidfd

    def of(self, state: State) -> bool:
        """Whether that is the process which is held."""
        return (self.state.pid, self.state.started) == (state.pid, state.started)

    def code(self) -> int | None:
        """Return the exit code of the process, None where it lives or the kernel does not tell."""
        status = process.zombie_status(self.state.pid, self.state.started)
        if status is None:
            status = process.reaped_status(self.pidfd)
        return None if status is None else process.waited_status(status)

    def close(self) -> None:
        """Let go of the process."""
        os.close(self.pidfd)


def of(paths: Paths, identity: str) -> Witness | None:
    """Return a witness of the container's process, None where it has none. Raises StorageError."""
    state = records.running_state(paths, identity)
    try:
        return Witness(state, process.open_pidfd(state.pid, state.started)) if state else None
    except ProcessLookupError:
        return None
