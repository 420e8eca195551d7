"""What a name in the store stood for a moment ago: the short way of `run` past the index, the manifest and the config.

    STATE/images/HEX-OF-THE-NAME      {"index": [mtime, size, inode], "boot": ID, "id": ..., "defaults": {...}, ...}

It holds as long as the store's index.json is the same file: whatever changes an image replaces that. Where anything is
odd, the store itself is asked.
"""

from __future__ import annotations

import os

from cratebox import document, jsontext
from cratebox.engine.specgen import ImageDefaults
from cratebox.errors import InvalidValue
from cratebox.linux.process import boot_id
from cratebox.paths import Paths, private_directory
from cratebox.record import Record

_LONGEST = 100  # characters of a name: as many bytes of hex, twice, must fit into a file name


class Resolved(Record):
    """What a container of the image is made of. `layers` are diff IDs and `directories` where they are, lowest first."""

    index: tuple[int, ...]
    boot: str
    id: str
    defaults: ImageDefaults
    layers: tuple[str, ...]
    directories: tuple[str, ...]


def _signature(paths: Paths) -> tuple[int, ...]:
    info = os.stat(paths.images + "/index.json")
    return info.st_mtime_ns, info.st_size, info.st_ino


def recall(paths: Paths, name: str) -> Resolved | None:
    """Return what `name` stands for, where that is known and still true."""
    try:
        with open(f"{paths.state}/images/{name.encode().hex()}", "rb") as file:
            found = document.decode(Resolved, jsontext.loads(file.read()), "")
        if found.index != _signature(paths) or found.boot != boot_id():
            return None
        for directory in found.directories:
            os.stat(directory)
    except (OSError, jsontext.JSONError, InvalidValue, UnicodeError):
        return None
    return found


def remember(
    paths: Paths, name: str, identity: str, defaults: ImageDefaults, layers: tuple[str, ...], directories: tuple[str, ...]
) -> None:
    """Keep what `name` stands for now. That it cannot be kept is no error."""
    if len(name) > _LONGEST:
        return
    try:
        found = Resolved(_signature(paths), boot_id(), identity, defaults, layers, directories)
        os.makedirs(private_directory(paths.state) + "/images", 0o700, exist_ok=True)
        path = f"{paths.state}/images/{name.encode().hex()}"
        new = f"{path}.{os.getpid()}"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            text = jsontext.dumps(document.encode(found)).encode()
            if os.write(fd, text) == len(text):
                os.rename(new, path)
        finally:
            os.close(fd)
    except (OSError, UnicodeError):
        return
