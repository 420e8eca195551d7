"""What a start finds: a container that does not run, which is started; one that runs already;
one that another command has just now.

Docker takes the start of a running container for done; with an attached client it is as if that had come later.
"""

from __future__ import annotations

import os
import time

from cratebox.engine import name_links, records, stopped
from cratebox.errors import Conflict
from cratebox.runtime.state import is_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.records import Container
    from cratebox.paths import Paths

_SECONDS, _PAUSE = 10.0, 0.02  # for another command to be done with it
_SHOWN_ID = 12  # digits, as `ps` shows


def lock_of(paths: Paths, container: Container, again: bool) -> int | None:
    """Return the lock of a container that can be started now, held;
    None where it runs already, and `again` says that this will do.

    Raises Conflict where it is in another state, NotFound, StorageError.
    """
    where, deadline = records.directory(paths, container.id), time.monotonic() + _SECONDS
    while True:
        lock = records.try_lock(where)
        runs = records.running_state(paths, container.id)
        if lock is not None and not runs:
            stopped.unmark(where)
            return lock
        if runs and is_held(f"{paths.running}/{container.id}"):
            runs = None  # whoever starts it has not said yet that it could be
        if lock is not None:  # its supervisor and guardian were killed, and it runs on
            os.close(lock)
        status = records.status(paths, container)
        if runs and status.status == "running":
            if again:
                return None
            raise Conflict(
                f"{container.name} is running already", f"crate stop {container.name}, or crate logs {container.name}"
            )
        if status.status in {"paused", "restarting"}:
            from cratebox.engine import states

            raise states.wrong(status, "stopped")
        if time.monotonic() > deadline:
            raise Conflict(f"{container.name} is busy: another command starts or removes it", "try again")
        time.sleep(_PAUSE)


def names_container(paths: Paths, word: str) -> bool:
    """Tell whether `word`, which could be a command as well, is the name of a container,
    its ID or 12 digits of one at least.
    """
    from cratebox.errors import NotFound

    named = name_links.holder_of(paths, word) if word and "/" not in word and "\0" not in word and len(word) <= 128 else None
    if named and os.path.isdir(records.directory(paths, named)):
        return True
    if len(word) < _SHOWN_ID or not set(word) <= set("0123456789abcdef"):
        return False
    try:
        return bool(records.find(paths, word))
    except (Conflict, NotFound):
        return False
