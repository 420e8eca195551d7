"""`crate system check`, of volumes: their records, their directories,
and whether containers have those that they are to have.
"""

from __future__ import annotations

import os
import stat
from functools import partial

from cratebox import record_file
from cratebox.engine import records, volume_options
from cratebox.engine.volume_mounts import has_run
from cratebox.engine.volumes import ANONYMOUS, Volume, Volumes
from cratebox.errors import CrateError, StorageError
from cratebox.image.verifying import Damage, mode_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cratebox.engine.idmaps import Identity
    from cratebox.paths import Paths

_REPAIR = "crate system check --repair"
_ID = 64  # characters of a name that was made up


def damages(paths: Paths, identity: Identity) -> Iterator[Damage]:
    """Yield what is damaged. Raises OSError, StorageError for what cannot be read."""
    volumes = Volumes(paths, identity)
    if os.path.lexists(volumes.directory) and not stat.S_ISDIR(mode_of(volumes.directory)):
        yield Damage("crate", f"{volumes.directory} is not a directory", "move it away")
        return
    for name in volumes.names():
        yield from _volume(volumes, name)
    yield from _missing(paths, volumes)


def _volume(volumes: Volumes, name: str) -> Iterator[Damage]:
    where, subject = volumes.place(name), f"volume {name}"
    if not stat.S_ISDIR(mode_of(where)):
        if os.path.lexists(where):
            yield Damage(subject, f"{where} is not a directory", "move it away")
        return
    try:
        volume = record_file.read(where + "/volume.json", Volume)
        problem = f"{where}/volume.json is gone" if volume is None else ""
        if volume and volume.name != name:
            problem = f"damaged: {where}/volume.json is that of another volume"
        elif volume:
            volume_options.origin_of(volume.options)
    except CrateError as error:
        volume, problem = None, error.message
    if problem and os.path.isdir(where):
        yield Damage(subject, problem, _REPAIR, partial(_write_record, where, name))
    data = where + "/_data"
    if os.path.isdir(where) and not stat.S_ISDIR(mode_of(data)):
        told = "is not a directory" if os.path.lexists(data) else "is gone, and with it what was in the volume"
        yield Damage(subject, f"{data} {told}", _REPAIR, partial(_make_data, data))


def _write_record(where: str, name: str) -> str:
    """What it was for is lost: a directory of crate's own, which its files are in, if they were not elsewhere."""
    labels = {ANONYMOUS: ""} if len(name) == _ID and set(name) <= set("0123456789abcdef") else {}
    record_file.write(where + "/volume.json", Volume(name, os.stat(where).st_mtime, labels), durable=True)
    return "made its record anew; labels and options that it had are lost"


def _make_data(path: str) -> str:
    if os.path.lexists(path):
        os.unlink(path)
    os.mkdir(path)
    os.chmod(path, 0o755)  # noqa: S103  as when it was made
    return f"made {path} anew, empty"


def _missing(paths: Paths, volumes: Volumes) -> Iterator[Damage]:
    """A container that never ran gets its volumes at its first start."""
    for identity in records.identities(paths):
        try:
            container = records.load(paths, identity)
        except (CrateError, StorageError):
            continue  # which is told of the container
        if not has_run(records.directory(paths, identity)):
            continue
        for one in container.config.mounts:
            if one.kind == "volume" and not os.path.lexists(volumes.place(one.source)):
                yield Damage(
                    f"container {container.name}",
                    f"its volume {one.source}, for {one.target}, is gone",
                    f"crate volume create {one.source} makes an empty one",
                )
