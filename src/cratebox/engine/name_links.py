"""The names of containers: ROOT/names/NAME is a symlink to the ID, so that one command makes it and all see it, whole."""

from __future__ import annotations

import os

from cratebox.errors import Conflict, StorageError
from cratebox.linux import lock
from cratebox.paths import Paths, private_directory


def holder_of(paths: Paths, name: str) -> str | None:
    """Return the ID that has the name, there or not; None where it is free."""
    try:
        found = os.readlink(f"{paths.root}/names/{name}")
    except OSError:
        return None
    return found if len(found) == 64 and "/" not in found else None


def claim(paths: Paths, name: str, identity: str) -> None:
    """Take the name for the container. Raises Conflict where another has it, OSError."""
    link = f"{paths.root}/names/{name}"
    for _ in range(8):
        try:
            os.symlink(identity, link)
        except FileNotFoundError:
            private_directory(paths.root + "/names")
        except FileExistsError:
            holder = holder_of(paths, name)
            # A command that makes a container holds the lock of the directory that will be renamed; in the order it goes.
            if holder and (
                lock.is_held(f"{paths.containers}/.new-{holder}/lock") or os.path.isdir(f"{paths.containers}/{holder}")
            ):
                if release_old(paths, name, holder):
                    continue
                raise Conflict(
                    f"the name {name} is taken by container {holder[:12]}", f"crate rm {name}, or choose another --name"
                ) from None
            release(paths, name, holder or "")
        else:
            return
    raise Conflict(f"the name {name} is taken")


def names(paths: Paths) -> list[str]:
    """Return the names that are taken."""
    try:
        return os.listdir(paths.root + "/names")
    except OSError:
        return []


def name_of(paths: Paths, identity: str) -> str:
    """Return the name that leads to a container whose record is damaged or gone; empty where none does."""
    return next((name for name in names(paths) if holder_of(paths, name) == identity), "")


def release(paths: Paths, name: str, identity: str) -> None:
    """Free the name where the container (still) has it."""
    if holder_of(paths, name) in {identity, None}:
        try:
            os.unlink(f"{paths.root}/names/{name}")
        except OSError:
            pass


def release_old(paths: Paths, name: str, identity: str, *, wait: bool = False) -> bool:
    """Free a name that leads to the container and is not the one it has: a `rename` is done with it, or was killed. Tell
    whether it is free now. While somebody renames the container, who holds edit.lock then, it stays; or is waited for.
    """
    from cratebox import record_file
    from cratebox.engine.records import Container

    where = f"{paths.containers}/{identity}"
    try:
        held = (lock.hold if wait else lock.try_hold)(where + "/edit.lock")
    except OSError:
        return False
    if held is None:
        return False
    try:
        container = record_file.read(where + "/container.json", Container)
        if container is None or container.name in {"", name} or holder_of(paths, name) != identity:
            return False
        os.unlink(f"{paths.root}/names/{name}")
    except (OSError, StorageError):
        return False
    finally:
        os.close(held)
    return True
