"""How a container goes: its name is free and nobody sees it in one step, its files are deleted behind that."""

from __future__ import annotations

import os

from cratebox.engine import events, name_links
from cratebox.engine.idmaps import Identity
from cratebox.errors import StorageError
from cratebox.paths import Paths
from cratebox.record import Record
from cratebox.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


WITH_VOLUMES = "/with-volumes"  # a mark in its directory: its volumes are to go with it (rm -v)


class Removal(Record):
    """What goes: the container `id`, whose `name` is empty where its record is damaged, of the user `owner`.

    `attributes` are those of its events; `volumes` go along where no other container has them.
    """

    paths: Paths
    owner: Identity
    id: str
    name: str
    attributes: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    volumes: tuple[str, ...] = ()


def vanish(which: Removal) -> Callable[[], None]:
    """Free the name and make the container invisible, in one step; return what then deletes its files.

    Whoever calls holds the lock, until the files are gone: see `leftovers.sweep`. Raises StorageError.
    """
    paths = which.paths
    where, gone = f"{paths.containers}/{which.id}", f"{paths.containers}/.removing-{which.id}"
    try:
        os.rename(where, gone)
    except FileNotFoundError:
        return lambda: None
    except OSError as error:
        raise StorageError(f"cannot remove {where}: {error.strerror}") from None
    name = which.name
    if not name or name_links.holder_of(paths, name) != which.id:  # it was renamed while it ran
        name = name_links.name_of(paths, which.id)
    if name:
        name_links.release(paths, name, which.id)
    try:
        state.forget(f"{paths.running}/{which.id}")
    except StorageError:
        pass  # the container is gone already, and its ID never comes again
    events.emit(paths, "container", "destroy", which.id, which.attributes)
    if which.volumes:
        return _with_volumes(which, gone)
    return lambda: delete_tree(which.owner, gone)


def _with_volumes(which: Removal, gone: str) -> Callable[[], None]:
    """While the container's files are there, it is known that its volumes are to go: see leftovers.py."""
    from cratebox.engine.volumes import Volumes

    volumes = Volumes(which.paths, which.owner)
    hidden = volumes.hide_unused(which.volumes)

    def delete() -> None:
        for path in hidden:
            volumes.delete(path)
        delete_tree(which.owner, gone)

    return delete


def delete_tree(owner: Identity, path: str) -> None:
    """Delete a container's directory. Without root, files of its other users take the user's namespace. Raises StorageError."""
    from cratebox.image import tree

    parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            tree.remove(parent, os.path.basename(path))
        except FileNotFoundError:
            return
        except PermissionError:
            if not owner.rootless:
                raise
            from cratebox.engine.userspace import runner

            runner(owner)(lambda: _delete_inside(path))
    except OSError as error:
        raise StorageError(f"cannot delete {path}: {error.strerror}") from None
    finally:
        os.close(parent)


def _delete_inside(path: str) -> bytes:
    from cratebox.image import tree

    parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    tree.remove(parent, os.path.basename(path))
    os.close(parent)
    return b""
