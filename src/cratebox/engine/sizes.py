"""How large things are: what a container has written, its log, its image. Counted as Docker counts (moby, pkg/directory).

A size is what ls -l says of regular files, each once however many names it has; directories are nothing. What it all takes of
the disk (`on_disk`) is counted as du(1) does: whole blocks, of directories as well. No symlink is followed.
"""

from __future__ import annotations

import os
import stat

from cratebox.engine import records
from cratebox.engine.records import Container, ContainerStatus
from cratebox.errors import CrateError
from cratebox.image import across
from cratebox.linux import const
from cratebox.linux.beneath import openat2
from cratebox.paths import Paths
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cratebox.engine.idmaps import Identity
    from cratebox.engine.images import Images

_WITHIN = const.RESOLVE_BENEATH | const.RESOLVE_NO_SYMLINKS | const.RESOLVE_NO_XDEV
_BLOCK = 512  # bytes: st_blocks, stat(2)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class ContainerSize(Record):
    """Bytes: `written` is what the container has changed or added, `log` what crate keeps of what it said,
    `image` its layers.
    """

    written: int
    log: int
    image: int

    @property
    def root(self) -> int:
        """What Docker calls the virtual size: the whole root file system."""
        return self.written + self.image


def of_containers(paths: Paths, images: Images, containers: Sequence[Container | ContainerStatus]) -> dict[str, ContainerSize]:
    """Return the size of each container, by ID; what cannot be read, or is being removed, counts as nothing.
    Raises StorageError.
    """
    own = {one.id: _own(paths, one.id) for one in containers}
    written = trees(images.identity, [own[one.id] for one in containers])
    layers = _image_sizes(images)
    return {
        one.id: ContainerSize(
            max(0, size - layers.get(one.image_id, 0)) if own[one.id].endswith("/copy") else size,
            log_size(records.directory(paths, one.id)),
            layers.get(one.image_id, 0),
        )
        for one, size in zip(containers, written, strict=True)
    }


def _own(paths: Paths, identity: str) -> str:
    """Return where a container's own files are; in a copy those of its image are as well."""
    where = records.directory(paths, identity)
    return where + "/copy" if os.path.isdir(where + "/copy") else where + "/rw/upper"


def _image_sizes(images: Images) -> dict[str, int]:
    try:
        return {image.id: image.size for image in images.list()}
    except CrateError:
        return {}


def log_size(where: str) -> int:
    """Return the bytes of the logs of the container whose directory is `where`, the rotated ones as well."""
    total = 0
    try:
        with os.scandir(where) as entries:
            for entry in entries:
                if entry.name.partition(".")[0] == "log" and entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:
        pass
    return total


def trees(identity: Identity, directories: Sequence[str]) -> list[int]:
    """Return the size of each tree. Without root, what this user may not enter takes his user namespace, once for them all."""
    return _each(identity, directories, tree_size)


def on_disk(identity: Identity, directory: str) -> int:
    """Return the bytes of the disk that a tree takes; without root as `trees`."""
    return _each(identity, [directory], disk_size)[0]


def _each(identity: Identity, directories: Sequence[str], size_of: Callable[[str], int | None]) -> list[int]:
    found = [size_of(directory) for directory in directories]
    if identity.rootless and any(size is None for size in found):
        from cratebox.engine.userspace import runner

        def work() -> bytes:
            return " ".join(str(size_of(directory) or 0) for directory in directories).encode()

        return [int(word) for word in across.call(runner(identity), work).split()]
    return [size or 0 for size in found]


def tree_size(path: str) -> int | None:
    """Return the bytes of the regular files below the directory `path`; None where a directory in it may not be entered."""
    return _measured(path, lambda info: info.st_size if stat.S_ISREG(info.st_mode) else 0)


def disk_size(path: str) -> int | None:
    """Return the bytes of the blocks of all that is below the directory `path`, and its own; None as `tree_size`."""
    return _measured(path, lambda info: info.st_blocks * _BLOCK)


def _measured(path: str, size_of: Callable[[os.stat_result], int]) -> int | None:
    try:
        root = os.open(path, const.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return size_of(os.fstat(root)) + _sum(root, size_of)
    except PermissionError:
        return None
    finally:
        os.close(root)


def _sum(root: int, size_of: Callable[[os.stat_result], int]) -> int:
    total, seen, pending = 0, set(), ["."]
    while pending:
        above = pending.pop()
        try:
            fd = openat2(root, above, _DIRECTORY, resolve=_WITHIN)
        except PermissionError:
            raise
        except OSError:
            continue  # deleted meanwhile, mounted over, or deeper than a path can be
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        info = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # deleted meanwhile
                    if stat.S_ISDIR(info.st_mode):
                        pending.append(f"{above}/{entry.name}")
                    elif info.st_nlink > 1:
                        if info.st_ino in seen:
                            continue
                        seen.add(info.st_ino)
                    total += size_of(info)
        finally:
            os.close(fd)
    return total
