"""A root made of layers as the kernel's overlay shows it, read without mounting anything.

Docker's `diff`, `export` and `commit` speak of what a container sees at /. Its layers lie side by side in directories that
crate can read, so that is worked out here by the rules of the kernel: a whiteout hides, an opaque directory hides all that is
below it, a redirected one goes on elsewhere (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories",
"redirect_dir"). It needs no mount, works for running and stopped containers alike, and sees nothing of what is mounted in them.

Everything in a layer is hostile and may change while it is read: directories are opened below the layer's descriptor, no
symlink is followed and no mount entered. It runs where the IDs of the containers are real ones:
as root, or in the user's namespace.
"""

from __future__ import annotations

import os
import stat

from cratebox.linux import const
from cratebox.linux.beneath import openat2
from cratebox.linux.regular import open_again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_WITHIN = const.RESOLVE_BENEATH | const.RESOLVE_NO_SYMLINKS | const.RESOLVE_NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_MOST_REDIRECTS = 40  # of one path
_ENOTDIR, _ELOOP, _EXDEV = 20, 40, 18


class Entry:
    """A file of the root: `path` is where it lies in the layer number `layer`, `info` what lstat(2) says of it there.

    Of a directory, `places` are the layers' directories that are seen in it, uppermost first: (layer, path).
    """

    __slots__ = ("info", "layer", "parent", "path", "places")

    def __init__(self, layer: int, path: str, info: os.stat_result, parent: Entry | None) -> None:
        self.layer, self.path, self.info, self.parent = layer, path, info, parent
        self.places: list[tuple[int, str]] = [(layer, path)]

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)

    def is_same(self, other: Entry) -> bool:
        """Tell whether both are the very same file of a layer."""
        return (self.layer, self.path) == (other.layer, other.path)


class Layered:
    """The `directories`, uppermost first, laid over each other; a context manager.

    `userxattr`: overlayfs is mounted with that option, so that its own attributes are user.overlay.* (rootless).
    """

    def __init__(self, directories: Sequence[str], userxattr: bool) -> None:
        self._namespace = "user.overlay." if userxattr else "trusted.overlay."
        self._roots: list[int] = []
        try:
            for directory in directories:
                self._roots.append(os.open(directory, const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the layers. A second call does nothing."""
        while self._roots:
            os.close(self._roots.pop())

    def __enter__(self) -> Layered:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def root(self, first: int = 0, last: int | None = None) -> Entry:
        """Return / as the layers from number `first` to before `last` make it; all further down by default."""
        numbers = range(first, len(self._roots) if last is None else last)
        entry = Entry(numbers[0], "", os.fstat(self._roots[numbers[0]]), None)
        entry.places = [(number, "") for number in numbers]
        return entry

    def children(self, directory: Entry) -> dict[str, Entry]:
        """Return what is seen in a directory, by name. Raises OSError."""
        found: dict[str, Entry] = {}
        hidden: set[str] = set()  # names below which no layer is looked at any more
        todo, seen = list(directory.places), 0
        directory.places = []
        while todo and seen < len(self._roots):
            layer, path = todo.pop(0)
            seen += 1
            try:
                fd = self._open(layer, path, _DIRECTORY)
            except OSError as error:
                if error.errno not in (2, _ENOTDIR, _ELOOP, _EXDEV):
                    raise
                if not directory.places or error.errno in (_ENOTDIR, _ELOOP):
                    break  # gone, mounted over, or covered by what is no directory
                continue
            try:
                directory.places.append((layer, path))
                mark = self._attribute(fd, "opaque")
                self._merge(fd, (layer, path), directory, found, hidden, marked=mark == b"x")
                if mark == b"y":
                    break
                redirect = self._attribute(fd, "redirect")
                if redirect:
                    todo = self._elsewhere(os.fsdecode(redirect), layer, directory)
            finally:
                os.close(fd)
        return found

    def _merge(
        self, fd: int, place: tuple[int, str], into: Entry, found: dict[str, Entry], hidden: set[str], marked: bool
    ) -> None:
        """Lay what is in one layer's directory under what is `found` already."""
        layer, above = place
        with os.scandir(fd) as entries:
            for one in entries:
                name = one.name
                if name in hidden:
                    continue
                try:
                    info = one.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # deleted meanwhile
                path = f"{above}/{name}" if above else name
                if self._is_whiteout(fd, name, info, marked):
                    hidden.add(name)
                elif name not in found:
                    found[name] = Entry(layer, path, info, into)
                    if not stat.S_ISDIR(info.st_mode):
                        hidden.add(name)
                elif stat.S_ISDIR(info.st_mode):
                    found[name].places.append((layer, path))
                else:
                    hidden.add(name)

    def _is_whiteout(self, directory: int, name: str, info: os.stat_result, marked: bool) -> bool:
        """A device 0:0; in a directory that is `marked` so, an empty file with an attribute (layer.py makes them where it
        must).
        """
        if stat.S_ISCHR(info.st_mode):
            return info.st_rdev == 0
        if not marked or not stat.S_ISREG(info.st_mode) or info.st_size:
            return False
        try:
            os.getxattr(f"/proc/self/fd/{directory}/{name}", self._namespace + "whiteout", follow_symlinks=False)
        except OSError:
            return False
        return True

    def _attribute(self, fd: int, name: str) -> bytes | None:
        try:
            return os.getxattr(fd, self._namespace + name)
        except OSError:
            return None

    def _elsewhere(self, redirect: str, layer: int, directory: Entry) -> list[tuple[int, str]]:
        """Return what lies below a directory that was renamed: the name it had in its parent, or the path from the root."""
        if not redirect.startswith("/"):
            above = directory.parent.places if directory.parent else []
            return [(number, f"{path}/{redirect}".lstrip("/")) for number, path in above if number > layer]
        if layer + 1 >= len(self._roots):
            return []
        here = self.root(layer + 1)
        for part in redirect.strip("/").split("/"):
            step = self.children(here).get(part)
            if step is None or not step.is_directory:
                return []
            here = step
        return here.places

    def open(self, entry: Entry) -> int:
        """Open a directory, or a regular file for reading; return the descriptor. Raises OSError."""
        if entry.is_directory:
            return self._open(entry.layer, entry.path, _DIRECTORY)
        layer, path = entry.layer, entry.path
        fd = self._open_file(layer, path)
        for _ in range(_MOST_REDIRECTS):
            if self._attribute(fd, "metacopy") is None:
                break
            redirect = self._attribute(fd, "redirect")
            os.close(fd)
            layer, path = self._data_of(entry, layer, os.fsdecode(redirect) if redirect else "")
            fd = self._open_file(layer, path)
        return fd

    def _open_file(self, layer: int, path: str) -> int:
        """Open a regular file, and nothing that a container puts in its place meanwhile: to open a device may do something."""
        held = self._open(layer, path, const.O_PATH | os.O_NOFOLLOW)
        try:
            if not stat.S_ISREG(os.fstat(held).st_mode):
                raise OSError(_ELOOP, "it is no file any more", path)
            return open_again(held, "/" + path)
        finally:
            os.close(held)

    def _data_of(self, entry: Entry, layer: int, redirect: str) -> tuple[int, str]:
        """Return where the data of a file lies that was copied up without them (overlayfs.rst, "Metadata only copy up")."""
        if redirect.startswith("/"):
            above, _, name = redirect.strip("/").rpartition("/")
            places = self._elsewhere("/" + above, layer, entry) if above else self.root(layer + 1).places
        else:
            name = redirect or entry.path.rpartition("/")[2]
            places = entry.parent.places if entry.parent else []
        for number, path in places:
            if number > layer:
                where = f"{path}/{name}".lstrip("/")
                try:
                    os.close(self._open(number, where, const.O_PATH | os.O_NOFOLLOW))
                except FileNotFoundError:
                    continue
                return number, where
        raise FileNotFoundError(2, "the data of a file are in no layer", entry.path)

    def link_target(self, entry: Entry) -> str:
        """Return what a symlink says. Raises OSError."""
        fd = self._open(entry.layer, entry.path, const.O_PATH | os.O_NOFOLLOW)
        try:
            return os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)

    def _open(self, layer: int, path: str, flags: int) -> int:
        return openat2(self._roots[layer], path or ".", flags, resolve=_WITHIN)
