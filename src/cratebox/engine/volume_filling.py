"""What has to be done with volumes while a container's first process is being made, by its supervisor or by who looks into a
container that does not run.

    an empty directory    is filled by the first process (runtime/filling.py). Meanwhile the file `filling` beside it is locked, and
                          says which image it is filled from; it goes when all is there and on the disk. One that is there and
                          not locked was left by a process that was killed: a container of the same image goes on
    a new file system     (volume_options.py) is made and handed on as a descriptor. A tmpfs is one for all containers that have the
                          volume: it is copied from one that runs.
                          Until the first process has mounted it the file `mounting` is locked

So of two containers that start at once with one volume, the second waits for the first.
"""

from __future__ import annotations

import os
import time

from cratebox.engine import events
from cratebox.engine.idmaps import Identity
from cratebox.engine.volume_options import Origin
from cratebox.errors import Conflict, StorageError
from cratebox.linux import const, lock
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.paths import Paths
    from cratebox.runtime.wish import Bind

_SECONDS = 120.0  # for another container that is being started
_PAUSE = 0.01
_LONGEST = 4096


class Starting(Record):
    """A volume of a container that starts: its `place` below ROOT/volumes, its files in `data`,
    which the container sees at `target`.

    `fill`: where it is empty it begins with what `image` (an ID) has there.
    `durable`: that is to be on the disk before it counts.
    """

    name: str
    container: str
    image: str
    target: str
    place: str
    data: str
    origin: Origin = Origin()
    fill: bool = False
    subpath: str = ""
    durable: bool = True
    owner: Identity = Identity()  # with the container's maps
    read_only: bool = False


class Filling:
    """The volumes of one container from now until it is ready: then `settle` is called, or `abandon` where it never was.

    `binds` and `trees` are what the runtime is to be told of them. Raises Conflict, StorageError, RuntimeFailure.
    """

    def __init__(self, paths: Paths, starting: tuple[Starting, ...], binds: dict[str, Bind]) -> None:
        self.binds = dict(binds)
        self.trees: dict[str, int] = {}
        self._held: list[tuple[Starting, int]] = []
        self._filled: list[Starting] = []
        try:
            for one in sorted(starting, key=lambda each: each.name):  # all in one order, or two could wait for each other
                if one.origin.kind == "new":
                    self._make(paths, one)
                else:
                    self._begin(one)
        except BaseException:
            self.abandon()
            raise

    def _begin(self, one: Starting) -> None:
        mark = one.place + "/filling"
        if not os.path.lexists(mark) and not (one.fill and _is_empty(one.data)):
            self._leave(one)
            return
        if any(other.name == one.name for other, _ in self._held):
            self._leave(one)  # it has the volume twice
            return
        held = _hold(mark, one)
        said = os.pread(held, _LONGEST, 0)
        if not one.fill or (said and said != one.image.encode()) or not (said or _is_empty(one.data)):
            if not said:
                os.unlink(mark)  # nothing was begun
            lock.release(held)
            self._leave(one)
            return
        self._held.append((one, held))
        self._filled.append(one)
        os.pwrite(held, one.image.encode(), 0)
        self.binds[one.target] = self.binds[one.target].replace(resume=bool(said))

    def _leave(self, one: Starting) -> None:
        """Have the volume as it is."""
        if one.target in self.binds:
            self.binds[one.target] = self.binds[one.target].replace(fill=False)

    def _make(self, paths: Paths, one: Starting) -> None:
        from cratebox.engine import made_volumes

        if any(other.name == one.name for other, _ in self._held):
            raise Conflict(
                f"the volume {one.name} cannot be mounted twice in one container",
                "it is no directory, but a file system of its own",
            )
        self._held.append((one, _hold(one.place + "/mounting", one)))
        shared = made_volumes.of_another(paths, one) if one.origin.type == "tmpfs" else -1
        if shared >= 0:
            self._leave(one)
        self.trees[one.target] = shared if shared >= 0 else made_volumes.new(one)

    def hand_over(self) -> dict[str, int]:
        """Return the mounts that were made, whose descriptors are from now on the runtime's to close."""
        trees, self.trees = self.trees, {}
        return trees

    def settle(self) -> None:
        """The container is ready: what was filled is whole. Raises StorageError where that cannot be put on the disk."""
        while self._held:
            one, held = self._held.pop(0)
            try:
                if one in self._filled:
                    if one.durable:
                        _sync(one.data)
                    os.unlink(one.place + "/filling")
                    if one.durable:
                        from cratebox.image.blobs import fsync_directory

                        fsync_directory(one.place)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise StorageError(f"cannot fill the volume {one.name}: {error.strerror}") from None
            finally:
                lock.release(held)

    def abandon(self) -> None:
        """It will not be ready. What is filled by halves stays marked as that."""
        for one, held in self._held:
            try:
                if one in self._filled and _is_empty(one.data):
                    os.unlink(one.place + "/filling")
            except OSError:
                pass
            lock.release(held)
        self._held.clear()
        for fd in self.hand_over().values():
            os.close(fd)


def tell(paths: Paths, volumes: tuple[Starting, ...], action: str) -> None:
    """Write down that a container's volumes were mounted ("mount"), or are not any more ("unmount")."""
    for one in volumes:
        about = {"container": one.container, "driver": "local"}
        if action == "mount":
            about |= {"destination": one.target, "propagation": "", "read/write": "false" if one.read_only else "true"}
        events.emit(paths, "volume", action, one.name, about)


def _is_empty(path: str) -> bool:
    """Tell whether a directory is empty, as far as that can be seen from here; the first process looks again."""
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def _hold(path: str, one: Starting) -> int:
    """Take a lock that is held while a container starts. Raises Conflict, StorageError."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        try:
            held = lock.try_hold(path)
        except FileNotFoundError:
            if not os.path.isdir(one.place):
                raise StorageError(f"the volume {one.name} was removed") from None
            continue  # the file was, when its holder was done
        except OSError as error:
            raise StorageError(f"cannot lock {path}: {error.strerror}") from None
        if held is not None:
            return held
        time.sleep(_PAUSE)
    raise Conflict(f"the volume {one.name} is being filled by another container that starts", "try again")


def _sync(path: str) -> None:
    from cratebox.linux._libc import checked

    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if os.access(path, os.R_OK) else -1
    if fd < 0:  # it belongs to a user of the container's: the directory above is on the same disk
        fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        checked(f"syncfs({path})", const.SYS_syncfs, fd)
    finally:
        os.close(fd)
