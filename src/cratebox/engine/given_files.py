"""Files that a flag names, read once: --env-file, --label-file, the file of a secret."""

from __future__ import annotations

import os

from cratebox.engine.words import shown
from cratebox.errors import InvalidValue
from cratebox.linux.regular import read_regular


def read(path: str, most: int, kind: str) -> bytes:
    """Return what is in a regular file, or what a shell's <(...) writes, of at most `most` bytes; `kind` is for the message.

    A FIFO, to which perhaps nobody ever writes, and a device, which may have no end, are refused at once. Raises InvalidValue.
    """
    try:
        return read_regular(path, most, pipe=_is_pipe_of_ours(path))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "give a file, or the output of a command: <(COMMAND)" if reason == "not a regular file" else None
        raise InvalidValue(f"cannot read the {kind} file {shown(path)}: {reason}", hint) from None


def _is_pipe_of_ours(path: str) -> bool:
    """Whether the path is that of an open descriptor, as /dev/fd/63 is, and so has had a writer."""
    return os.path.realpath(path).startswith("/proc/")
