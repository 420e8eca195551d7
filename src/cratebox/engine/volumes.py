"""Volumes: directories that outlive the containers that have them. They are kept by name, in this user's store.

    ROOT/volumes/NAME/volume.json    what it is: written once
    ROOT/volumes/NAME/_data          its files, save where its options say that they are elsewhere (volume_options.py)
    ROOT/volumes/NAME/filling        a container is just starting, and what its image has is copied into it; see volume_filling.py
    ROOT/volumes/.new-*, .removing-* half made, half removed
    ROOT/volumes.lock                held for the moment in which one is made or removed, or a container that has one is made

A volume is used by the containers whose records name it; nothing else is written down about that. The record of a container
is there before a volume of it is made, and gone before one is removed: so a volume without a name never is without the
container that it was made for, save where that was removed and the volume was to stay.
"""

from __future__ import annotations

import os
import stat
import time

from cratebox import record_file
from cratebox.engine import events, records, volume_options
from cratebox.engine.mounts import check_volume_name
from cratebox.engine.vanishing import delete_tree
from cratebox.errors import Conflict, CrateError, InvalidValue, NotFound, StorageError, full_hint
from cratebox.linux import lock
from cratebox.paths import Paths, private_directory
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from cratebox.engine.idmaps import Identity
    from cratebox.engine.pruning import Filters, Pruned
    from cratebox.engine.records import Container

ANONYMOUS = "com.docker.volume.anonymous"  # the label of a volume that nobody has given a name
DRIVER = "local"


class Volume(Record):
    """What a volume is. `created` is in seconds since 1970; `options` are those of volume_options.py."""

    name: str
    created: float
    labels: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    options: dict[str, str] = {}  # noqa: RUF012  as `labels`

    @property
    def anonymous(self) -> bool:
        """Whether its name was made up."""
        return ANONYMOUS in self.labels


def new_name() -> str:
    """Return a name for a volume that is given none, 64 hex digits."""
    return os.urandom(32).hex()


class Volumes:
    """`engine.volumes`."""

    def __init__(self, paths: Paths, identity: Identity) -> None:
        self.paths, self.identity = paths, identity
        self.directory = paths.root + "/volumes"

    # Making

    def create(
        self, name: str = "", labels: Mapping[str, str] | None = None, options: Mapping[str, str] | None = None
    ) -> Volume:
        """Make a volume and return it; without a `name` it gets one. One that is there already is returned, as with Docker.

        Raises InvalidValue, Unsupported, Conflict where that has other labels or options, StorageError; nothing is left then.
        """
        labels = dict(labels or {})
        if not name:
            name, labels = new_name(), {**labels, ANONYMOUS: ""}
        self.check(name, labels, options or {})
        with self.held():
            return self.ensure(name, labels, options or {})

    def check(self, name: str, labels: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Raise InvalidValue, Unsupported or Conflict for a volume that cannot be had."""
        check_volume_name(name)
        volume_options.check(options, self.identity.rootless)
        found = self.find(name)
        if found:
            _check_same(found, labels, options)

    def held(self) -> _Held:
        """Return what holds the lock of all volumes in a `with`. Raises StorageError."""
        private_directory(self.paths.root)
        return _Held(self.paths.root + "/volumes.lock")

    def ensure(self, name: str, labels: Mapping[str, str], options: Mapping[str, str]) -> Volume:
        """Make a volume where there is none of that name, under the lock. Raises Conflict, StorageError."""
        found = self.find(name)
        if found:
            _check_same(found, labels, options)
            return found
        volume = Volume(name, time.time(), dict(labels), dict(options))
        private_directory(self.directory)
        new = f"{self.directory}/.new-{os.urandom(8).hex()}"
        try:
            os.mkdir(new, 0o700)
            os.mkdir(new + "/_data")
            os.chmod(new + "/_data", 0o755)  # noqa: S103  whatever the umask: containers have it as a directory of their own
            record_file.write(new + "/volume.json", volume, durable=not volume.anonymous)
            os.rename(new, self.place(name))
        except OSError as error:
            self.delete(new)
            raise StorageError(f"cannot make the volume {name}: {error.strerror}", full_hint(error)) from None
        events.emit(self.paths, "volume", "create", name, {"driver": DRIVER})
        return volume

    # Looking

    def place(self, name: str) -> str:
        """Return the directory of a volume."""
        return f"{self.directory}/{name}"

    def data(self, volume: Volume) -> str:
        """Return the directory of its files, as far as it has one on the disk: what Docker calls its mountpoint."""
        return self.place(volume.name) + "/_data"

    def find(self, name: str) -> Volume | None:
        """Return the volume of that name, None where there is none. Raises StorageError where its record is damaged."""
        record = self.place(name) + "/volume.json"
        try:
            found = record_file.read(record, Volume)
            while found is None and (directory := self._directory(name)):
                # It came just now; or it was damaged all the time, where it still is the same after another look.
                found = record_file.read(record, Volume)
                if found is None and self._directory(name) == directory:
                    raise StorageError(f"damaged: {record} is gone")
        except StorageError as error:
            raise StorageError(error.message, "crate system check --repair") from None
        return found

    def _directory(self, name: str) -> tuple[int, int] | None:
        """Return what tells a volume's directory, which comes and goes whole, from any later one; None where there is none."""
        try:
            info = os.stat(self.place(name), follow_symlinks=False)
        except OSError:
            return None
        return (info.st_ino, info.st_ctime_ns) if stat.S_ISDIR(info.st_mode) else None

    def get(self, name: str) -> Volume:
        """Return the volume of that name. Raises NotFound, StorageError where its record is damaged."""
        found = self.find(name) if _is_name(name) else None
        if found is None:
            raise NotFound(f"no volume {ascii(name)[1:-1]}", "crate volume ls lists them")
        return found

    def names(self) -> Sequence[str]:
        """Return the names of all volumes, sorted. Raises StorageError."""
        try:
            return sorted(name for name in os.listdir(self.directory) if _is_name(name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"cannot read {self.directory}: {error.strerror}") from None

    def _known(self) -> Iterator[Volume]:
        for name in self.names():
            try:
                found = self.find(name)
            except StorageError:
                found = Volume(name=name, created=0.0)
            if found:
                yield found

    def users(self, strict: bool = False) -> Mapping[str, Sequence[Container]]:
        """Return the containers that have each volume, by its name. Raises StorageError; `strict`: also where the record of a
        container is damaged, so that nobody knows which it has.
        """
        found: dict[str, list[Container]] = {}
        for identity in records.identities(self.paths):
            try:
                container = records.load(self.paths, identity)
            except NotFound:
                continue  # removed meanwhile
            except StorageError:
                if not strict:
                    continue
                raise StorageError(
                    f"the record of container {identity[:12]} is damaged: nobody knows which volumes it has",
                    f"crate rm -f {identity[:12]}, or crate system check --repair",
                ) from None
            for name in {one.source for one in container.config.mounts if one.kind == "volume"}:
                found.setdefault(name, []).append(container)
        return found

    def document(self, volume: Volume) -> dict[str, Any]:
        """Return a volume in Docker's form of `volume inspect`."""
        from cratebox.engine.inspect_state import rfc3339

        return {
            "CreatedAt": rfc3339(volume.created).partition(".")[0].removesuffix("Z") + "Z",
            "Driver": DRIVER,
            "Labels": volume.labels or None,
            "Mountpoint": self.data(volume),
            "Name": volume.name,
            "Options": volume.options or None,
            "Scope": "local",
        }

    def inspect(self, name: str) -> dict[str, Any]:
        """Return a volume in Docker's form of `volume inspect`. Raises as `get`."""
        return self.document(self.get(name))

    def sizes(self, volumes: Sequence[Volume]) -> Sequence[int]:
        """Return the bytes of each volume's files, as far as they are crate's to count."""
        from cratebox.engine import sizes

        return sizes.trees(self.identity, [self.data(volume) for volume in volumes])

    # Removing

    def remove(self, name: str, force: bool = False) -> bool:
        """Delete a volume that no container has; with `force` one that is not there is no error. Tell whether it was there.

        Raises NotFound, Conflict where a container has it, StorageError.
        """
        if not _is_name(name) or not os.path.isdir(self.place(name)):
            if force and name:
                return False
            raise NotFound(f"no volume {ascii(name)[1:-1]}", "crate volume ls lists them")
        with self.held():
            users = self.users(strict=True).get(name)
            if users:
                whose = ", ".join(one.name or one.id[:12] for one in users[:5]) + (", ..." if len(users) > 5 else "")
                raise Conflict(
                    f"volume {name} is in use by {whose}",
                    f"crate rm {users[0].name or users[0].id[:12]} first, or another that is named",
                )
            gone = self._hide(name)
        if gone:
            self.delete(gone)
        elif not force:
            raise NotFound(f"no volume {name}: it was removed")
        return bool(gone)

    def hide_unused(self, names: Sequence[str]) -> Sequence[str]:
        """Make those of the volumes that no container has invisible, at once; return what is then to be deleted, by `delete`.

        It raises nothing: one that cannot be hidden stays, and a prune finds it.
        """
        gone = []
        try:
            with self.held():
                users = self.users(strict=True)
                gone = [hidden for name in names if name not in users and (hidden := self._hide(name))]
        except CrateError:
            pass
        return gone

    def _hide(self, name: str) -> str:
        gone = f"{self.directory}/.removing-{os.urandom(8).hex()}"
        try:
            os.rename(self.place(name), gone)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise StorageError(f"cannot remove the volume {name}: {error.strerror}") from None
        events.emit(self.paths, "volume", "destroy", name, {"driver": DRIVER})
        return gone

    def delete(self, path: str) -> None:
        """Delete what was hidden, or half made. Raises StorageError."""
        if os.path.lexists(path):
            delete_tree(self.identity, path)

    def prune(self, filters: Filters | None = None, every: bool = False) -> Pruned:
        """Remove the volumes that no container has and that nobody has named, or `every` one. Raises StorageError."""
        from cratebox.engine import pruning

        return pruning.volumes(self, filters or pruning.Filters(), every)

    def sweep(self) -> Sequence[str]:
        """Delete what killed commands have left half made or half removed; return a line for each thing.
        Raises StorageError.
        """
        gone: list[str] = []
        if not os.path.isdir(self.directory):
            return gone
        with self.held():
            left = [name for name in os.listdir(self.directory) if name.startswith((".new-", ".removing-"))]
        for name in left:
            try:
                self.delete(f"{self.directory}/{name}")
            except StorageError:
                continue  # somebody else is deleting it, or it is in use
            gone.append(f"volume {name.partition('-')[2]}")
        return gone

    # Archives

    def export(self, name: str, to: int | str) -> None:
        """Write a volume's files as a tar archive to a descriptor, or to a file: that whole or not at all. Raises as `get`,
        StorageError, Unsupported for one whose files are not in a directory, BrokenPipeError.
        """
        from cratebox.engine import volume_archive

        volume_archive.export(self, self.get(name), to)

    def import_(self, name: str, archive: int) -> None:
        """Unpack the tar archive that a descriptor gives, compressed or not, into a volume; what is there stays. Raises as
        `export`, Untrusted.
        """
        from cratebox.engine import volume_archive

        volume_archive.import_(self, self.get(name), archive)

    # Last, for in this class its name stands for itself

    def list(self, filters: Sequence[str] = ()) -> list[Volume]:
        """Return all volumes that the filters ("dangling=true", "label=KEY=VALUE", "name=x", "driver=local") let pass, by name.

        Of one whose record is damaged no more than the name is known. Raises InvalidValue, StorageError.
        """
        found = list(self._known())
        if filters:
            from cratebox.engine import volume_selection

            found = volume_selection.select(found, filters, self.users)
        return found


class _Held:
    """The lock of all volumes, for the moment of a `with`."""

    def __init__(self, path: str) -> None:
        try:
            self._fd = lock.hold(path)
        except OSError as error:
            raise StorageError(f"cannot lock {path}: {error.strerror}") from None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_exception: object) -> None:
        lock.release(self._fd)


def _is_name(text: str) -> bool:
    try:
        check_volume_name(text)
    except InvalidValue:
        return False
    return True


def _check_same(found: Volume, labels: Mapping[str, str], options: Mapping[str, str]) -> None:
    """What is asked of a volume that is there already must be so: nothing of it can be changed."""
    if options and dict(options) != found.options:
        raise Conflict(f"there is a volume {found.name} with other options", f"crate volume inspect {found.name} tells them")
    if labels and dict(labels) != found.labels:
        raise Conflict(f"there is a volume {found.name} with other labels", f"crate volume inspect {found.name} tells them")
