"""How a container's last run ended: exit.json, and the room that is kept for it."""

from __future__ import annotations

import os

from cratebox import document, jsontext, record_file
from cratebox.errors import StorageError
from cratebox.linux import process
from cratebox.record import Record


class Exit(Record):
    """How a container's last run ended; times in seconds since 1970.

    `boot_id` tells in which start of the machine; `restart_count`: how often its policy had started it again by then.
    `restarting`: it was about to, and has been stopped by nobody but a crash of the machine or of its supervisor.
    """

    code: int
    started_at: float
    finished_at: float
    error: str = ""
    oom_killed: bool = False
    restart_count: int = 0
    restarting: bool = False
    boot_id: str = ""


LOST = 255  # the code of a container whose own nobody knows, as Docker's
_RESERVED = 4096
_LONGEST_ERROR = 300  # characters: each may take twelve bytes of JSON


def begin(where: str) -> Exit | None:
    """A new run begins: how the last one ended does not count any more, and is returned. Makes room for the record of how this
    one will end while there is room: a container may fill the disk. Raises OSError.
    """
    try:
        before = record_file.read(where + "/exit.json", Exit)
    except StorageError:
        before = None
    fd = os.open(where + "/exit.reserve", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(fd, b" " * _RESERVED, 0)
    finally:
        os.close(fd)
    try:
        os.unlink(where + "/exit.json")
    except FileNotFoundError:
        pass
    return before


def write(where: str, ended: Exit) -> None:
    """Write down how a run ended and in which boot, into the room that was reserved, and give it its name. Raises OSError."""
    ended = ended.replace(error=ended.error[:_LONGEST_ERROR], boot_id=process.boot_id())
    text = jsontext.dumps(document.encode(ended)).encode()
    fd = os.open(where + "/exit.reserve", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(fd, text.ljust(_RESERVED), 0)
    finally:
        os.close(fd)
    os.rename(where + "/exit.reserve", where + "/exit.json")


def tell(where: str, code: int) -> None:
    """Tell those who wait for the end of this run, where there are any, its exit code (waiting.py). Never raises."""
    try:
        fd = os.open(where + "/waited", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return  # nobody waits
    try:
        os.unlink(where + "/waited")  # the next run has others
        os.write(fd, str(code).encode())
    except OSError:
        pass  # a full disk: exit.json tells it, save with --rm
    finally:
        os.close(fd)
