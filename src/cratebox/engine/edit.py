"""Changing what a container is after it was made: `update` and `rename` go through here, one after the other.

container.json is read, changed and replaced under a lock of its own (edit.lock beside it), since the container's lock is held
by the supervisor for as long as it runs. Whoever reads the record needs no lock: it finds the old one or the new one, whole.
"""

from __future__ import annotations

import os

from cratebox import record_file
from cratebox.engine import records
from cratebox.engine.records import Container
from cratebox.errors import NotFound, StorageError, full_hint
from cratebox.linux import lock
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def edit(
    paths: Paths, identity: str, change: Callable[[Container], Container], first: Callable[[Container], None] | None = None
) -> Container:
    """Replace the record of the container with that full ID by what `change` makes of it; return the new one.

    What `change` raises leaves the record as it was, and so does `first`, which is given the new one when it is on the disk and
    only has to take the old one's place. Both are called with the lock held, so they must not wait for long, nor edit.
    Raises NotFound, also where the container is removed meanwhile, StorageError.
    """
    where = records.directory(paths, identity)
    try:
        held = lock.hold(where + "/edit.lock")
        try:
            before = records.load(paths, identity)
            after = change(before)
            if after != before:
                record_file.write(where + "/container.json", after, durable=True, first=lambda: first(after) if first else None)
        finally:
            os.close(held)
    except FileNotFoundError:
        raise NotFound(f"no container {identity[:12]}: it was removed") from None
    except OSError as error:
        raise StorageError(f"cannot change {where}/container.json: {error.strerror}", full_hint(error)) from None
    return after
