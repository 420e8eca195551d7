"""The verbs that look: state and list (runtime.md, State)."""

from __future__ import annotations

import os
import time

from cratebox.errors import InvalidValue, NotFound, StorageError
from cratebox.runtime import place
from cratebox.runtime import state as saved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def state(root: str, name: str) -> dict[str, Any]:
    """Return the state of a container (runtime.md, State) with runc's additions. Raises NotFound, StorageError."""
    directory = place.directory_of(root, name)
    found = saved.load(directory)
    now = saved.status(found, directory)
    return {
        "ociVersion": found.oci_version,
        "id": found.id,
        "pid": 0 if now == "stopped" else found.pid,
        "status": now,
        "bundle": found.bundle,
        "rootfs": found.rootfs,
        "created": _timestamp(found.created),
        "owner": _user_name(found.owner),
        **({"annotations": found.annotations} if found.annotations else {}),
    }


def _timestamp(seconds: float) -> str:
    """Return RFC 3339, as Go prints it."""
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1e9):09d}Z"


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def list_containers(root: str) -> list[dict[str, Any]]:
    """Return the state of each container, by ID; of one whose state file is damaged, as good as nothing but the ID."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found.append(state(root, name))
        except (NotFound, InvalidValue):
            continue
        except StorageError:
            from cratebox.runtime.spec import VERSION

            found.append({"ociVersion": VERSION, "id": name, "pid": 0, "status": "damaged", "bundle": ""})
    return found
