"""--pidfile: the pid of a container's first process, as this machine counts, in a file of the user's.
It stays when the container ends.
"""

from __future__ import annotations

import os

from cratebox.errors import StorageError, full_hint


def write(path: str, pid: int) -> None:
    """Write the pid to the file, whole: who reads it never finds half a number. Raises StorageError."""
    temporary = f"{path}.{os.getpid()}.new"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, str(pid).encode())
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise StorageError(f"cannot write the container's pid to {path}: {error.strerror}", full_hint(error)) from None
