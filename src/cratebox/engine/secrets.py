"""Secrets: words that containers may read and nobody else. They are kept by name, in this user's store.

    ROOT/secrets/NAME/secret.json    what is told about it: ID, times, labels
    ROOT/secrets/NAME/data           the secret itself, 0600
    ROOT/secrets/.new-*              half made

Each is renamed into its place whole. Nothing of `data` goes into a container's record, its spec on the disk, a log or the words
of a process: a container finds it in a tmpfs of its own (made_mounts.py), or in its environment.
"""

from __future__ import annotations

import os
import shutil
import time

from cratebox import record_file
from cratebox.engine.config import ContainerConfig, SecretWish
from cratebox.errors import Conflict, InvalidValue, NotFound, StorageError
from cratebox.paths import Paths, private_directory
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST = 512_000  # bytes, as Podman's
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _LETTERS | frozenset("_.-")


class Secret(Record):
    """What is told about a secret. Times are seconds since 1970."""

    id: str
    name: str
    created: float
    labels: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed


def check_name(text: str) -> str:
    """Return `text` where it can be the name of a secret."""
    if not 0 < len(text) <= 253 or text[0] not in _LETTERS or not _NAME.issuperset(text):
        raise InvalidValue(
            f"not a name for a secret: {ascii(text)[1:-1][:60] or 'it is empty'}",
            "up to 253 letters, digits, _, . and -; the first is a letter or a digit",
        )
    return text


class Secrets:
    """`engine.secrets`."""

    def __init__(self, paths: Paths) -> None:
        self._directory = paths.root + "/secrets"
        self._root = paths.root

    def create(self, name: str, data: bytes, labels: dict[str, str] | None = None, replace: bool = False) -> Secret:
        """Keep `data` by that name; return what is told about it.
        Raises InvalidValue, Conflict where there is one, StorageError.
        """
        check_name(name)
        if not 0 < len(data) <= MOST:
            raise InvalidValue(f"a secret has 1 to {MOST} bytes, not {len(data)}")
        private_directory(self._root)
        private_directory(self._directory)
        secret = Secret(id=os.urandom(13).hex()[:25], name=name, created=time.time(), labels=labels or {})
        new = f"{self._directory}/.new-{secret.id}"
        try:
            os.mkdir(new, 0o700)
            _write(new + "/data", data)
            record_file.write(new + "/secret.json", secret, durable=True)
            self._put(new, name, replace)
        except OSError as error:
            raise StorageError(f"cannot keep the secret {name}: {error.strerror}") from None
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return secret

    def _put(self, new: str, name: str, replace: bool) -> None:
        place = f"{self._directory}/{name}"
        if replace and os.path.isdir(place):
            old = f"{self._directory}/.new-old-{os.urandom(8).hex()}"
            os.rename(place, old)
            os.rename(new, place)
            shutil.rmtree(old, ignore_errors=True)
            return
        try:
            os.rename(new, place)  # which fails where the directory is there, for it is never empty
        except OSError:
            if not os.path.isdir(place):
                raise
            raise Conflict(f"there is a secret {name} already", f"crate secret rm {name}, or --replace") from None

    def list(self) -> list[Secret]:
        """Return all of them, by name."""
        try:
            names = sorted(name for name in os.listdir(self._directory) if name[0] != ".")
        except FileNotFoundError:
            return []
        return [found for name in names if (found := record_file.read(f"{self._directory}/{name}/secret.json", Secret))]

    def get(self, reference: str) -> Secret:
        """Return the secret of that name, or of that ID or a unique beginning of one. Raises NotFound, Conflict."""
        every = self.list()
        found = [one for one in every if one.name == reference] or [
            one for one in every if reference and one.id.startswith(reference)
        ]
        if len(found) > 1:
            raise Conflict(f"secret {reference}: {len(found)} secrets have an ID that begins so", "give more of the ID")
        if not found:
            raise NotFound(f"no secret {ascii(reference)[1:-1]}", "crate secret ls lists them")
        return found[0]

    def inspect(self, reference: str) -> dict[str, Any]:
        """Return what is known of a secret in Podman's form of `secret inspect`, without what is in it. Raises as `get`."""
        from cratebox.engine.inspect_state import rfc3339

        secret = self.get(reference)
        when = rfc3339(secret.created)
        return {
            "ID": secret.id,
            "CreatedAt": when,
            "UpdatedAt": when,
            "Spec": {"Name": secret.name, "Driver": {"Name": "file", "Options": {}}, "Labels": secret.labels},
        }

    def data(self, secret: Secret) -> bytes:
        """Return the secret itself. Raises NotFound, StorageError."""
        try:
            with open(f"{self._directory}/{secret.name}/data", "rb") as file:
                return file.read(MOST + 1)
        except FileNotFoundError:
            raise NotFound(f"no secret {secret.name}: it was removed") from None
        except OSError as error:
            raise StorageError(f"cannot read the secret {secret.name}: {error.strerror}") from None

    def remove(self, reference: str) -> Secret:
        """Delete a secret; containers that run keep what they have of it. Raises NotFound, StorageError."""
        secret = self.get(reference)
        old = f"{self._directory}/.new-old-{os.urandom(8).hex()}"
        try:
            os.rename(f"{self._directory}/{secret.name}", old)
            shutil.rmtree(old)
        except FileNotFoundError:
            raise NotFound(f"no secret {secret.name}: it was removed") from None
        except OSError as error:
            raise StorageError(f"cannot delete the secret {secret.name}: {error.strerror}") from None
        return secret


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def resolved(paths: Paths, config: ContainerConfig) -> ContainerConfig:
    """Return the config with the names of its secrets, which may be IDs on a command line. Raises NotFound, InvalidValue."""
    store, targets = Secrets(paths), set()
    found = []
    for one in config.secrets:
        name = store.get(one.name).name
        found.append(one.replace(name=name, target=one.target or (name if one.kind == "env" else f"/run/secrets/{name}")))
        if found[-1].target in targets:
            raise InvalidValue(f"two secrets at {found[-1].target}")
        targets.add(found[-1].target)
    return config.replace(secrets=tuple(found))


def environment(paths: Paths, wished: tuple[SecretWish, ...], those_there: bool = False) -> tuple[str, ...]:
    """Return the variables that hold secrets; `those_there`: one that was removed is left out.

    Raises NotFound, InvalidValue for one that no variable can hold.
    """
    store, found = Secrets(paths), []
    for one in wished:
        if one.kind == "env":
            try:
                data = store.data(store.get(one.name))
            except NotFound:
                if those_there:
                    continue
                raise
            if b"\0" in data:
                raise InvalidValue(f"the secret {one.name} has a NUL byte, which no variable can have", "mount it as a file")
            found.append(f"{one.target}={os.fsdecode(data)}")
    return tuple(found)
