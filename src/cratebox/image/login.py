"""Credentials as they are saved: in the files that Docker, Podman and other tools read as well (auth.py), or by their helpers.

Which file: the one that has something for the registry already, or else the first that would win over it; where none has,
$REGISTRY_AUTH_FILE, else Docker's config.json, which every tool reads and no reboot forgets.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager

from cratebox import jsontext
from cratebox.errors import InvalidValue, NotFound, StorageError
from cratebox.image import auth, credential_helper
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cratebox.image.auth import Credential
    from cratebox.image.reference import Reference


class Saved(Record):
    """Where a credential went: a file, in which anybody who can read it can read the secret, or the program of a helper.

    `checked`: the registry has asked for it; one that lets everybody in has not.
    """

    where: str
    helper: bool
    checked: bool = True


def place_of(server: Reference) -> str:
    """Return the registry, HOST[:PORT], or the place in it, HOST[:PORT]/PATH."""
    return server.name.removesuffix("/")


def save(server: Reference, credential: Credential, authfile: str = "") -> Saved:
    """Keep `credential` for `server`, a registry or a place in it (reference.server), in `authfile` where that is named.

    Raises InvalidValue, NotFound, StorageError.
    """
    files = auth.files(authfile)
    path = next((each for each in files if _knows(_document(each), server)), files[-1])
    with _changing(path) as document:
        key = _key(server, path)
        helper = _helper(document, server)
        auths = _auths(document)
        for other in [each for each in auths if auth.plain_key(each) in _plain_keys(server)]:
            del auths[other]
        if helper is None:
            auths[key] = {"auth": _encoded(credential)}
            return Saved(path, helper=False)
        program = credential_helper.named(helper, path)
        credential_helper.store(program, auth.server_name(place_of(server)), credential.username, credential.password)
        auths[key] = {}  # what is in the helper has no secret here
        return Saved(program, helper=True)


def forget_all(authfile: str = "") -> tuple[str, ...]:
    """Delete what is saved for all registries in all places that are read; return the files.
    Raises InvalidValue, StorageError.
    """
    found = []
    for path in auth.files(authfile):
        document = _document(path)
        erased = _erase_all(document, path)
        if _auths(document):
            with _changing(path) as document:
                _auths(document).clear()
            erased = True
        if erased:
            found.append(path)
    return tuple(found)


def _erase_all(document: dict[str, Any], path: str) -> bool:
    """Have the helpers that a file names forget what they keep for registries; return whether there was something."""
    helpers = document.get("credHelpers")
    known = [(helper, auth.server_name(key)) for key, helper in helpers.items()] if isinstance(helpers, dict) else []
    if document.get("credsStore"):
        program = credential_helper.named(document["credsStore"], path)
        known += [(document["credsStore"], name) for name in credential_helper.listed(program)]
    erased = [_erase(helper, path, name) for helper, name in known]
    return any(erased)


def forget(server: Reference, authfile: str = "") -> tuple[str, ...]:
    """Delete what is saved for `server` in all places that are read; return those. Raises InvalidValue, StorageError."""
    found = []
    for path in auth.files(authfile):
        document = _document(path)
        helper = _helper(document, server)
        if helper is not None and _erase(helper, path, auth.server_name(place_of(server))):
            found.append(path)
        if any(auth.plain_key(each) in _plain_keys(server) for each in _auths(document)):
            with _changing(path) as document:
                auths = _auths(document)
                for key in [each for each in auths if auth.plain_key(each) in _plain_keys(server)]:
                    del auths[key]
            found.append(path)
    return tuple(dict.fromkeys(found))


def _erase(helper: object, path: str, name: str) -> bool:
    try:
        program = credential_helper.named(helper, path)
    except NotFound:
        return False  # it cannot be asked for the secret either
    if not credential_helper.get(program, name)[1]:
        return False
    credential_helper.erase(program, name)
    return True


def _plain_keys(server: Reference) -> tuple[str, ...]:
    return tuple(map(auth.plain_key, auth.HUB)) if place_of(server) == auth.HUB[0] else (place_of(server),)


def _key(server: Reference, path: str) -> str:
    """Podman's files call Docker Hub docker.io, Docker's by an address."""
    return place_of(server) if path.endswith("auth.json") else auth.server_name(place_of(server))


def _knows(document: dict[str, Any], server: Reference) -> bool:
    keys = _plain_keys(server)
    helpers = document.get("credHelpers")
    own = isinstance(helpers, dict) and any(key in helpers for key in (*keys, server.registry))
    return own or any(auth.plain_key(each) in keys for each in _auths(document))


def _helper(document: dict[str, Any], server: Reference) -> object | None:
    """Return the name of the helper that keeps what is saved for `server` in this file, None where the file does."""
    helpers = document.get("credHelpers")
    if isinstance(helpers, dict):
        for key in (*_plain_keys(server), server.registry):
            if key in helpers:
                return helpers[key]  # type: ignore[no-any-return]
    return document.get("credsStore") or None


def _auths(document: dict[str, Any]) -> dict[str, Any]:
    auths = document.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise InvalidValue('"auths" is not a JSON object', "docker login or podman login write it anew")
    return auths


def _encoded(credential: Credential) -> str:
    return credential.basic.partition(" ")[2]


def _document(path: str) -> dict[str, Any]:
    notes: list[str] = []
    document = auth.read(path, notes)
    if notes:
        raise StorageError(notes[0])
    return document


@contextmanager
def _changing(path: str) -> Iterator[dict[str, Any]]:
    """Yield what the file `path` has, and replace it by what that has become.
    Raises StorageError; then the file is as it was.
    """
    path = os.path.realpath(path)  # dotfiles are often links
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # of two logins at once none is lost
        document = _document(path)
        yield document
        _replace(path, (jsontext.dumps_pretty(document) + "\n").encode())
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
    finally:
        os.close(held)


def _replace(path: str, data: bytes) -> None:
    temporary = f"{path}.{os.urandom(6).hex()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb", 0) as file:
            if os.geteuid() == 0 and os.path.exists(path):  # sudo keeps HOME: the file stays its owner's
                info = os.stat(path)
                os.fchown(fd, info.st_uid, info.st_gid)
            while data:
                data = data[file.write(data) :]
            os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
