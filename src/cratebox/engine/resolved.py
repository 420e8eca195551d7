"""What a name in the store stood for a moment ago: the short way of `run` past the index, the manifest and the config.

    STATE/images/HEX-OF-THE-NAME      {"index": [mtime, size, inode], "boot": ID, "id": ..., "defaults": {...}, ...}

It holds as long as the store's index.json is the same file: whatever changes an image replaces that. Where anything is
odd, the store itself is asked.
"""

from __future__ import annotations

import os

from cratebox import jsontext
from cratebox.engine.config import HealthCheck
from cratebox.engine.image_defaults import ImageDefaults
from cratebox.errors import StorageError
from cratebox.linux.process import boot_id
from cratebox.paths import Paths, private_directory
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LONGEST = 100  # characters of a name: as many bytes of hex, twice, must fit into a file name


class Resolved(Record):
    """What a container of the image is made of. `layers` are diff IDs and `directories` where they are, lowest first."""

    index: tuple[int, ...]
    boot: str
    id: str
    defaults: ImageDefaults
    layers: tuple[str, ...]
    directories: tuple[str, ...]


def signature(paths: Paths) -> tuple[int, ...]:
    """Return what tells the store's index from any other; () where there is none. To be taken before a name is looked up in it:
    a tag that another command sets meanwhile must not pass for known.
    """
    try:
        info = os.stat(paths.images + "/index.json")
    except OSError:
        return ()
    return info.st_mtime_ns, info.st_size, info.st_ino


def recall(paths: Paths, name: str) -> Resolved | None:
    """Return what `name` stands for, where that is known and still true."""
    try:
        with open(f"{paths.state}/images/{name.encode().hex()}", "rb", 0) as file:
            found = jsontext.loads(file.read())
        # Written by `remember`, into a directory that is this user's alone: no checks but those of its truth.
        if tuple(found["index"]) != signature(paths) or found["boot"] != boot_id():
            return None
        for directory in found["directories"]:
            os.stat(directory)
        defaults = _defaults(found["defaults"])
        return Resolved((), found["boot"], found["id"], defaults, tuple(found["layers"]), tuple(found["directories"]))
    except (OSError, jsontext.JSONError, UnicodeError, KeyError, TypeError, AttributeError):
        return None


def _defaults(written: dict[str, Any]) -> ImageDefaults:
    values = _with_tuples(written)
    if check := values.get("healthcheck"):
        values["healthcheck"] = HealthCheck(**_with_tuples(check))
    return ImageDefaults(**values)


def _with_tuples(written: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(one) if type(one) is list else one for key, one in written.items()}


def remember(paths: Paths, name: str, found: Resolved) -> None:
    """Keep what `name` stands for. That it cannot be kept is no error."""
    if len(name) > _LONGEST or not found.index:
        return
    try:
        private_directory(private_directory(paths.state) + "/images")
        path = f"{paths.state}/images/{name.encode().hex()}"
        new = f"{path}.{os.getpid()}"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            defaults, check = found.defaults.as_dict(), found.defaults.healthcheck
            defaults["healthcheck"] = check.as_dict() if check else None
            text = jsontext.dumps({**found.as_dict(), "defaults": defaults}).encode()
            if os.write(fd, text) == len(text):
                os.rename(new, path)
        finally:
            os.close(fd)
    except (OSError, UnicodeError, StorageError):
        return
