"""Programs that keep credentials: docker-credential-NAME, by the protocol of Docker's credential helpers.
No shell, no secret in argv.

docker-credential-NAME get      stdin: the server          stdout: {"Username": ..., "Secret": ...}
docker-credential-NAME store    stdin: {"ServerURL": ..., "Username": ..., "Secret": ...}
docker-credential-NAME erase    stdin: the server
docker-credential-NAME list                                stdout: {"SERVER": "USERNAME", ...}
"""

from __future__ import annotations

import os
import shutil
import subprocess

from cratebox import jsontext
from cratebox.errors import InvalidValue, NotFound, StorageError
from cratebox.text import shown

_TIMEOUT = 120.0  # seconds: it may ask a person for a passphrase
_MAX_SECRET = 1 << 16
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def named(name: object, path: str) -> str:
    """Return the program of the helper that the file `path` names. Raises InvalidValue for no name, NotFound."""
    if not (isinstance(name, str) and name and _WORD.issuperset(name)):
        raise InvalidValue(f"{path} names a credential helper {shown(name)}", "a name has letters, digits, ., _ and -")
    program = shutil.which(f"docker-credential-{name}")
    if program is None:
        raise NotFound(f"{path} names the credential helper docker-credential-{name}, which is not installed")
    return program


def get(program: str, server: str) -> tuple[str, str]:
    """Return the user's name and the secret that are kept for `server`, both empty where none is. Raises StorageError."""
    status, said = _run(program, "get", server.encode())
    if status:
        if b"credentials not found" in said:
            return "", ""
        raise _failed(program, status)
    try:
        answer = jsontext.loads(said)
    except jsontext.JSONError:
        raise StorageError(f"{os.path.basename(program)} could not be asked: no JSON came") from None
    found = (answer.get("Username"), answer.get("Secret")) if isinstance(answer, dict) else (None, None)
    username, secret = (each if isinstance(each, str) else None for each in found)
    if username is None or not secret or len(username + secret) > _MAX_SECRET:
        return "", ""
    return username, secret


def store(program: str, server: str, username: str, secret: str) -> None:
    """Have a credential kept. Raises StorageError."""
    document = {"ServerURL": server, "Username": username, "Secret": secret}
    status, _ = _run(program, "store", jsontext.dumps(document).encode())
    if status:
        raise _failed(program, status)


def erase(program: str, server: str) -> None:
    """Have a credential forgotten; that there is none is no error. Raises StorageError."""
    status, said = _run(program, "erase", server.encode())
    if status and b"not found" not in said:
        raise _failed(program, status)


def listed(program: str) -> tuple[str, ...]:
    """Return the servers of which it keeps something. Raises StorageError."""
    status, said = _run(program, "list", b"")
    if status:
        raise _failed(program, status)
    try:
        answer = jsontext.loads(said) if said.strip() else {}
    except jsontext.JSONError:
        answer = None
    if not isinstance(answer, dict):
        raise StorageError(f"{os.path.basename(program)} could not be asked: no JSON object came")
    return tuple(answer)


def _run(program: str, verb: str, given: bytes) -> tuple[int, bytes]:
    try:
        done = subprocess.run(
            [program, verb], input=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise StorageError(f"{os.path.basename(program)} did not answer within {_TIMEOUT:.0f} s") from None
    except OSError as error:
        raise StorageError(f"{os.path.basename(program)} could not be asked: {error.strerror}") from None
    return done.returncode, done.stdout


def _failed(program: str, status: int) -> StorageError:
    # What it says is left out: it may quote the secret.
    return StorageError(f"{os.path.basename(program)} failed with exit code {status}")
