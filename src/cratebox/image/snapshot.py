"""Unpacked layers: layers/HEX/fs is the tree, layers/HEX/layer.json says that it is whole; HEX is of the diff ID.

A layer is made in layers/.new-XXXX and renamed when it is whole, so a crash leaves garbage and never a half layer under a
layer's name; one that is replaced or deleted becomes .old-XXXX first. Whoever makes or deletes such a directory has a flock on
it, which the kernel takes from the dead: what can be locked is garbage, and is deleted by `sweep`, after a pull.

A rename is not on the disk because it was made, and 39,000 files are not either. Waiting for the disk would take longer
than all the rest of a pull, so a layer is used at once, and layer.json has the boot ID of the kernel that unpacked it: while
that kernel runs, the page cache is the truth. `Layers.settle` syncs and takes the boot ID out. A layer that was not settled
before the machine went down is unpacked again from its blob, which has been synced.

layer.json: {"diff_id": "sha256:...", "size": BYTES, "entries": N, "boot": "ID" or "", "skipped": ["NAME: why", ...],
             "blob": "sha256:..."}
owners (only where the id map has one id): owners that could not be set, see layer.unpack.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock

from cratebox import jsontext
from cratebox.errors import StorageError, Unsupported, Untrusted
from cratebox.image import digest as digests
from cratebox.image import locks, tree
from cratebox.image.blobs import read_small, replace_file, storage_failure
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from cratebox.image.decompress import Readable
    from cratebox.image.layer import Unpacked

_GARBAGE = (".new-", ".old-")


class LayerRecord(Record):
    """What layer.json says. `boot`: the boot ID of the kernel that unpacked it, "" once it is known to be on the disk. `blob`:
    the digest of what it was unpacked from, "" where nobody wrote that down.
    """

    diff_id: str
    size: int
    entries: int
    boot: str
    skipped: tuple[str, ...] = ()
    blob: str = ""


class Layers:
    """The layers below `directory`; publishing is serialised by a lock in `lock_directory`."""

    def __init__(self, directory: str, lock_directory: str) -> None:
        self.directory = directory
        self._locks = lock_directory
        self._boot = ""

    def path(self, diff_id: str) -> str:
        """Return the directory of a layer, there or not. Raises Untrusted, Unsupported."""
        algorithm, encoded = digests.split(diff_id)
        if algorithm != "sha256":
            raise Unsupported(f"a layer whose diff ID is a {algorithm}: crate reads sha256 only")
        return f"{self.directory}/{encoded}"

    def read(self, diff_id: str) -> LayerRecord | None:
        """Return what is known of a layer; None where it is not there, or was lost with the power.

        Raises StorageError where its record is damaged.
        """
        record = self._record(self.path(diff_id) + "/layer.json")
        if record is None or record.boot not in ("", self.boot) or not os.path.isdir(self.path(diff_id) + "/fs"):
            return None
        if record.diff_id != diff_id:
            raise _damaged(self.path(diff_id) + "/layer.json")
        return record

    def _record(self, path: str) -> LayerRecord | None:
        try:
            raw = read_small(path, 1 << 20)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from None
        if not raw:
            return None  # what a power failure leaves of a young file
        try:
            value = jsontext.loads(raw)
            return LayerRecord(
                diff_id=digests.check(value["diff_id"]),
                size=int(value["size"]),
                entries=int(value["entries"]),
                boot=str(value["boot"]),
                skipped=tuple(str(line) for line in value["skipped"]),
                blob=str(value.get("blob", "")),
            )
        except (jsontext.JSONError, Untrusted, KeyError, TypeError, ValueError):
            raise _damaged(path) from None

    @property
    def boot(self) -> str:
        """The boot ID of this kernel."""
        if not self._boot:
            self._boot = read_small("/proc/sys/kernel/random/boot_id", 100).decode("ascii").strip()
        return self._boot

    def pending(self, diff_id: str | None) -> PendingLayer:
        """Return what makes a layer, a context manager; nothing is there yet. None: what it will be is not known.

        Raises Untrusted, Unsupported.
        """
        if diff_id is not None:
            self.path(diff_id)
        return PendingLayer(self, diff_id)

    def publish(self, pending: PendingLayer, unpacked: Unpacked, blob: str) -> None:
        """Give a layer its name. Where somebody else was faster, theirs stays."""
        try:
            record = {
                "diff_id": unpacked.diff_id,
                "size": unpacked.size,
                "entries": unpacked.entries,
                "boot": self.boot,
                "skipped": list(unpacked.skipped),
                "blob": blob,
            }
            _write(pending.path + "/layer.json", jsontext.dumps(record).encode())
            with locks.hold(self._locks, "layers"):
                if self._is_good(unpacked.diff_id):
                    return
                final = self.path(unpacked.diff_id)
                if os.path.lexists(final):
                    os.rename(final, f"{self.directory}/.old-{os.urandom(8).hex()}")  # `sweep` is for it
                os.rename(pending.path, final)
                pending.published = True
        except OSError as error:
            raise storage_failure(f"cannot write {pending.path}", error) from None

    def _is_good(self, diff_id: str) -> bool:
        try:
            return self.read(diff_id) is not None
        except StorageError:
            return False

    def young(self) -> list[str]:
        """Return the names of the layers that are not known to be on the disk. Raises OSError."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return [name for name in names if not name.startswith(".") and self._is_young(name)]

    def settle(self) -> None:
        """Put all layers on the disk, then write down that they are. Raises StorageError."""
        from cratebox.linux import const
        from cratebox.linux._libc import checked

        try:
            young = self.young()
            if not young:
                return
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                checked(f"syncfs({self.directory})", const.SYS_syncfs, fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise storage_failure(f"cannot sync {self.directory}", error) from None
        for name in young:
            self._write_settled(f"{self.directory}/{name}/layer.json")

    def _write_settled(self, path: str) -> None:
        with locks.hold(self._locks, "layers"):
            record = self._record(path)
            if record is not None and record.boot == self.boot:
                settled = {**record.as_dict(), "boot": "", "skipped": list(record.skipped)}
                replace_file(path, jsontext.dumps(settled).encode())

    def _is_young(self, name: str) -> bool:
        try:
            record = self._record(f"{self.directory}/{name}/layer.json")
        except StorageError:
            return False
        return record is not None and record.boot == self.boot

    def dead(self) -> list[str]:
        """Return the names of directories that somebody began to make or to delete who is gone. Raises OSError."""
        try:
            return [name for name in os.listdir(self.directory) if name.startswith(_GARBAGE) and not self._is_held(name)]
        except FileNotFoundError:
            return []

    def unwanted(self, wanted: Collection[str]) -> list[str]:
        """Return the names of directories that are neither a layer of `wanted` (diff IDs) nor being made now."""
        keep = {digests.split(diff_id)[1] for diff_id in wanted}
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return [name for name in names if name not in keep and not (name.startswith(_GARBAGE) and self._is_held(name))]

    def _is_held(self, name: str) -> bool:
        fd = self._claim(name)
        if fd is not None:
            os.close(fd)
        return fd is None

    def _claim(self, name: str) -> int | None:
        """Return a descriptor that holds the flock of a directory; None where another has it, or it cannot be had."""
        path = f"{self.directory}/{name}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            if locks.is_still(path, fd):
                return fd
        except BlockingIOError:
            pass
        os.close(fd)
        return None

    def remove(self, names: Iterable[str]) -> None:
        """Delete these directories, save those that somebody else makes or deletes. Raises StorageError.

        Each loses its name first: a crash leaves garbage, no half layer.
        """
        for name in names:
            doomed = name
            try:
                if not name.startswith(_GARBAGE):
                    doomed = f".old-{os.urandom(8).hex()}"
                    os.rename(f"{self.directory}/{name}", f"{self.directory}/{doomed}")
                held = self._claim(doomed)
                if held is not None:
                    try:
                        self.delete(doomed)
                    finally:
                        os.close(held)
            except OSError as error:
                raise StorageError(f"cannot delete {self.directory}/{name}: {error.strerror}") from None

    def delete(self, name: str) -> None:
        """Delete a directory whose flock the caller holds. Raises OSError."""
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            tree.remove(fd, name)
        finally:
            os.close(fd)


class PendingLayer:
    """A layer that is being made, under a name that says so. What was not published when the context ends is deleted.

    A signal may raise anything anywhere, so there is nothing on the disk before the context has begun.
    """

    def __init__(self, layers: Layers, diff_id: str | None) -> None:
        self._layers = layers
        self.published, self._diff_id = False, diff_id
        self.path = f"{layers.directory}/.new-{os.urandom(8).hex()}"
        self.unpacked: Unpacked | None = None
        self.tree = self._mark = -1

    def __enter__(self) -> PendingLayer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.discard()

    def unpack(self, stream: Readable | Iterable[bytes], media_type: str, *, userxattr: bool, owners: str) -> None:
        """Unpack `stream` next to the layers, and check that it is what it has to be. Raises Untrusted, StorageError."""
        from cratebox.image import layer

        try:
            self.make()
            with open(self.path + "/owners", "wb") as owners_file:
                self.unpacked = layer.unpack(
                    stream, media_type, self.tree, userxattr=userxattr, owners=owners, owners_file=owners_file
                )
            if self._diff_id not in (None, self.unpacked.diff_id):
                raise Untrusted(
                    f"a layer is not what the image's config says: expected {self._diff_id}, got {self.unpacked.diff_id}"
                )
            if not os.path.getsize(self.path + "/owners"):
                os.unlink(self.path + "/owners")
        except OSError as error:
            raise storage_failure(f"cannot write {self.path}", error) from None

    def make(self) -> None:
        """Make the directory and take its flock, under another name where a sweep took it for garbage before it had one.

        Raises OSError.
        """
        while not self._begin():
            self.path = f"{self._layers.directory}/.new-{os.urandom(8).hex()}"
        os.mkdir(self.path + "/fs", 0o755)
        self.tree = os.open(self.path + "/fs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _begin(self) -> bool:
        os.mkdir(self.path, 0o700)
        try:
            self._mark = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        flock(self._mark, LOCK_EX)
        if locks.is_still(self.path, self._mark):
            return True
        self._close()
        return False

    def publish(self, blob: str) -> None:
        """Make the layer be there under its diff ID, unpacked from the blob of this digest. Raises StorageError."""
        assert self.unpacked is not None, "published before it was unpacked"
        self._layers.publish(self, self.unpacked, blob)

    def discard(self) -> None:
        """Delete what was not published. A second call does nothing. Raises StorageError."""
        try:
            if not self.published and os.path.lexists(self.path):
                self._layers.delete(os.path.basename(self.path))
        except OSError as error:
            raise StorageError(f"cannot delete {self.path}: {error.strerror}") from None
        finally:
            self._close()

    def _close(self) -> None:
        for fd in (self.tree, self._mark):
            if fd >= 0:
                os.close(fd)
        self.tree = self._mark = -1


def _damaged(path: str) -> StorageError:
    return StorageError(f"damaged: {path}", "pull the image again: the layer is then unpacked anew")


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
