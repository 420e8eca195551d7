"""flock(2) files of the store: who may change what, and for how long.

| file below locks/ | held | by whom |
|---|---|---|
| `store` | shared | a pull, an import, the making of a container: what they have found must stay until it is referred to |
| `store` | exclusive, never waited for long | collect, which deletes what nothing refers to |
| `index` | exclusive, for milliseconds | whoever replaces index.json |
| `layers` | exclusive, for milliseconds | whoever gives an unpacked layer its name |
| `ALGORITHM-HEX` | exclusive | the one that downloads this blob |
| `pull` | shared | a pull or an import, from its beginning to its end |
| `pull` | exclusive, for microseconds | who settles: to learn that nobody pulls |
| `settle` | exclusive | the process that settles layers after a pull; where nobody has it, nothing is being settled |

The kernel lets go of a flock when the last process that holds its descriptor is gone, so nothing is left by a crash. The
order is settle, pull, store, digest, index or layers; nobody waits for one on the left while holding one on the right.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

from cratebox.errors import StorageError

_ALWAYS = ("store", "index", "layers", "pull", "settle")


class Lock:
    """A held flock on a file; use it as a context manager, or call `release`.

    A forked child shares the lock: it is gone when the last of them has released it or ended, or one has unlocked it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """Return the descriptor that the lock is held by."""
        return self._fd

    def release(self) -> None:
        """Let go. A second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def unlock(self) -> None:
        """Let go, also for the processes that share the lock."""
        flock(self._fd, LOCK_UN)
        self.release()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.release()


def hold(directory: str, name: str, *, shared: bool = False) -> Lock:
    """Wait for the lock `name` below `directory` and hold it. Raises StorageError where the file cannot be made."""
    lock = _acquire(directory, name, LOCK_SH if shared else LOCK_EX)
    assert lock is not None, "a lock that is waited for is held"
    return lock


def try_hold(directory: str, name: str) -> Lock | None:
    """Hold the lock `name` alone, or return None at once where somebody else holds it."""
    return _acquire(directory, name, LOCK_EX | LOCK_NB)


def _acquire(directory: str, name: str, how: int) -> Lock | None:
    path = f"{directory}/{name}"
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StorageError(f"cannot lock {path}: {error.strerror}") from None
        try:
            flock(fd, how)
            if is_still(path, fd):
                return Lock(fd)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def is_still(path: str, fd: int) -> bool:
    """Tell whether `path` is what was opened as `fd`.

    Collect may have deleted it between our open and our flock: a lock on it would exclude nobody.
    """
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def sweep(directory: str) -> None:
    """Delete the lock files of single digests that nobody holds."""
    for name in os.listdir(directory):
        if name in _ALWAYS:
            continue
        lock = try_hold(directory, name)
        if lock is not None:
            os.unlink(f"{directory}/{name}")
            lock.release()
