"""`volume export` and `volume import`: the files of a volume as a tar archive, and back.

Owners are the numbers that containers see, also without root: the work is done inside of the user's namespace. An archive is as
hostile as a layer of an image, and the volume may be in use: see unpacking.py and tree_archive.py.
"""

from __future__ import annotations

import os

from cratebox.engine import events, volume_options
from cratebox.engine.exporting import Refused, new_file, put
from cratebox.engine.tree_archive import Tree
from cratebox.engine.unpacking import Manner, Unpacker
from cratebox.errors import DISK_FULL, InvalidValue, StorageError, Unsupported, Untrusted, full_hint
from cratebox.image import across, decompress, tar
from cratebox.image.below import normal
from cratebox.linux import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cratebox.engine.volumes import Volume, Volumes

_CHUNK = 1 << 20  # bytes


def export(volumes: Volumes, volume: Volume, to: int | str) -> None:
    """Write the archive to a descriptor, or to a file: that whole or not at all.
    Raises StorageError, Unsupported, BrokenPipeError.
    """
    place = _place(volumes, volume)
    if isinstance(to, str):
        new_file(to, lambda fd, holes: _write(volumes, place, fd, to, holes))
    else:
        _write(volumes, place, to, "the archive", holes=False)


def _write(volumes: Volumes, place: str, fd: int, name: str, holes: bool) -> None:
    def work() -> bytes:
        top = os.open(place, const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            put(fd, Tree(top).archive("."), holes)
        except Refused as failed:
            if isinstance(failed.error, BrokenPipeError):
                return b"nobody reads"
            hint = "make room on that disk" if failed.error.errno in DISK_FULL else None
            raise StorageError(f"cannot write {name}: {failed.error.strerror}", hint) from None
        finally:
            os.close(top)
        return b""

    if _inside(volumes, work):
        raise BrokenPipeError


def import_(volumes: Volumes, volume: Volume, archive: int) -> None:
    """Unpack what the descriptor `archive` gives. Raises StorageError, Unsupported, Untrusted, Conflict."""
    place = _place(volumes, volume)
    manner = Manner(None, trusted=True, squash=volumes.identity.single)

    def work() -> bytes:
        top = os.open(place, const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _Into(top, None, manner).unpack(tar.Reader(decompress.chunks(_chunks(archive), "")))
        except Untrusted as error:
            raise Untrusted(error.message.replace("the layer", "the archive")) from None
        except OSError as error:
            raise StorageError(f"cannot unpack into the volume {volume.name}: {error.strerror}", full_hint(error)) from None
        finally:
            os.close(top)
        return b""

    _inside(volumes, work)
    events.emit(volumes.paths, "volume", "import", volume.name, {"driver": "local"})


class _Into(Unpacker):
    """The volume itself gets the owner and mode that the archive has for its first member, "."."""

    def _directory(self, entry: tar.Entry) -> None:
        super()._directory(entry)
        if not normal(entry.name, entry):
            self._below.hold(b"", entry)


def _place(volumes: Volumes, volume: Volume) -> str:
    """Return the directory of a volume's files. Raises Unsupported where they are in none, InvalidValue where that is gone."""
    origin = volume_options.origin_of(volume.options)
    if origin.kind == "new":
        raise Unsupported(
            f"the files of the volume {volume.name} are in no directory: it is a {origin.type}, which containers mount for themselves",
            "crate cp, of a container that runs",
        )
    place = origin.device if origin.kind == "bind" else volumes.data(volume)
    if not os.path.isdir(place):
        raise InvalidValue(f"the volume {volume.name}: there is no directory {place} here")
    return place


def _inside(volumes: Volumes, work: Callable[[], bytes]) -> bytes:
    if not volumes.identity.rootless:
        return across.call(across.call_directly, work)
    from cratebox.engine.userspace import runner

    return across.call(runner(volumes.identity), work)


def _chunks(reading: int) -> Iterator[bytes]:
    while chunk := os.read(reading, _CHUNK):
        yield chunk
