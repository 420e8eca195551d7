"""Output that could not be written to where the user wants it (a full disk):
it is lost, so a command that copied it has failed.
"""

from __future__ import annotations

import os

from cratebox.errors import StorageError


def failure(fd: int, errno: int, code: int) -> StorageError:
    """Return the error of a command whose descriptor `fd` (1, 2) could not be written to,
    after its process ended with `code`.
    """
    name = "standard output" if fd == 1 else "standard error"
    hint = f"what was running ended with {code}; what it wrote is lost here from then on"
    return StorageError(f"cannot write to {name}: {os.strerror(errno)}", hint)
