"""Who has which addresses and host ports: STATE/networks/leases, a line of JSON for each owner.

One file, replaced by rename under a lock: a hundred owners are 30 kB, which are read faster than a hundred files are opened.
Its first line tells the boot that it is of and where the last search for a free address ended in each subnet: addresses go
round, since an old namespace outlives its last process by some 50 ms.

A line is kept as the document it is, and made to records only for those who ask for one: a start looks at all of them.
"""

from __future__ import annotations

import os

from cratebox import document, jsontext
from cratebox.errors import StorageError
from cratebox.linux import lock as locks
from cratebox.linux import process, rename
from cratebox.network.model import Place, Reservation
from cratebox.paths import private_directory
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


class Lease(Record):
    """What an owner has, and who lives for it: the holder of the lock of file `lock`, or process `pid`, started at `started`.

    `attached`: there are, or were, interfaces. `holder`: who held the user's bridges then, see usernet.identity.
    """

    reservation: Reservation
    lock: str = ""
    pid: int = 0
    started: int = 0
    attached: bool = False
    holder: str = ""


def path_of(place: Place) -> str:
    """Return the file, which is replaced by another one whenever any lease changes."""
    return place.state + "/networks/leases"


class Ledger:
    """All leases of a place, for one writer at a time: `with Ledger(place) as ledger`. Nothing is on the disk before `save`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.by_owner: dict[str, dict[str, Any]] = {}
        self.marks: dict[str, str] = {}  # a subnet to the address that was given out last, as a hexadecimal number

    def __enter__(self) -> Ledger:
        self._path = path_of(self.place)
        private_directory(private_directory(self.place.state) + "/networks")
        try:
            self._lock = locks.hold(self._path + ".lock")
        except OSError as error:
            raise StorageError(f"cannot lock {self._path}.lock: {error.strerror}") from None
        try:
            self.by_owner, self.marks = _read(self._path)
        except BaseException:
            locks.release(self._lock)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        locks.release(self._lock)

    def get(self, owner: str) -> Lease | None:
        found = self.by_owner.get(owner)
        return document.decode(Lease, found, "a lease") if found is not None else None

    def put(self, lease: Lease) -> None:
        self.by_owner[lease.reservation.owner] = document.encode(lease)

    def drop(self, owner: str) -> None:
        self.by_owner.pop(owner, None)

    def dead(self, spare: str = "") -> list[Lease]:
        """Return the leases of those for whom nobody lives any more, save that of the owner `spare`."""
        return [
            document.decode(Lease, one, "a lease")
            for owner, one in self.by_owner.items()
            if owner != spare and not _is_alive(one)
        ]

    def save(self) -> None:
        """Replace the file. Raises StorageError."""
        lines = [jsontext.dumps({"boot": process.boot_id(), "marks": self.marks})]
        lines += [jsontext.dumps(one) for one in self.by_owner.values()]
        temporary = self._path + ".new"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                rest = "\n".join(lines).encode()
                while rest:
                    rest = rest[os.write(fd, rest) :]
            finally:
                os.close(fd)
            rename.replace_unflushed(temporary, self._path)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}") from None


def read(place: Place) -> dict[str, dict[str, Any]]:
    """Return the documents of all leases by their owners, without a lock: the file is there whole at any time."""
    return _read(path_of(place))[0]


def lease_of(found: dict[str, Any]) -> Lease:
    """Return the record of a document of `read`. Raises InvalidValue."""
    return document.decode(Lease, found, "a lease")


def _read(path: str) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """What another boot, or nobody, wrote is nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return {}, {}
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    try:
        raw = part = os.read(fd, 1 << 20)
        while part:
            part = os.read(fd, 1 << 20)
            raw += part
    finally:
        os.close(fd)
    try:
        head, *lines = [jsontext.loads(line) for line in raw.split(b"\n")]
        if head["boot"] != process.boot_id():
            return {}, {}
        return {one["reservation"]["owner"]: one for one in lines}, head["marks"]
    except (jsontext.JSONError, KeyError, TypeError):
        raise StorageError(f"damaged: {path}", f"where no container runs, delete {path}") from None


def _is_alive(found: dict[str, Any]) -> bool:
    """Tell whether somebody lives for a lease, its document given."""
    try:
        if "lock" in found and locks.is_held(found["lock"]):
            return True
    except OSError:
        return True  # nobody can tell
    return "pid" in found and process.start_time(found["pid"]) == found["started"]
