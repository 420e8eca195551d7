"""The mark that a container is to stay stopped: the file `stopped` in its directory.

`stop` and `kill` make it before they send a signal, a start by the user takes it away. So however the container ends and
whoever is killed in between, its restart policy knows that the user wanted it so, also after a reboot. The mark of
`system stop` holds until then.
"""

from __future__ import annotations

import os

from cratebox.errors import StorageError

_FOR_NOW = b"until the next boot\n"


def mark(where: str, by_user: bool = True) -> None:
    """Mark the container of the directory `where`, durably; `by_user`: for longer than until the next boot.

    One that is gone is stopped as well. Raises StorageError.
    """
    try:
        fd = os.open(where + "/stopped", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, b"" if by_user else _FOR_NOW)
        finally:
            os.close(fd)
        directory = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except (FileExistsError, FileNotFoundError):
        pass
    except OSError as error:
        raise StorageError(f"cannot mark the container as stopped: {where}/stopped: {error.strerror}") from None


def unmark(where: str) -> None:
    """Take the mark away, where there is one. Raises StorageError."""
    try:
        os.unlink(where + "/stopped")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"cannot delete {where}/stopped: {error.strerror}") from None


def is_marked(where: str, state_directory: str = "") -> bool:
    """Tell whether the container is not to be started again by itself, in this boot. Where nothing could be written to `where`,
    the mark is in its `state_directory`.
    """
    return os.path.exists(where + "/stopped") or bool(state_directory and os.path.exists(state_directory + "/stopped"))


def is_marked_by_user(where: str) -> bool:
    """Tell whether the user wanted the container stopped since he last started it."""
    try:
        return os.stat(where + "/stopped").st_size == 0
    except OSError:
        return False
