"""Who we are to a registry: credentials that other tools saved, and the challenge that asks for them.

Credentials are read from the files of Docker and Podman, in this order; login.py writes them:

    $REGISTRY_AUTH_FILE                              alone, where it is set
    $XDG_RUNTIME_DIR/containers/auth.json            podman login
    $XDG_CONFIG_HOME/containers/auth.json
    $DOCKER_CONFIG/config.json, ~/.docker/config.json    docker login

Formats: containers-auth.json(5), Docker's config.json, the docker-credential-helpers protocol; challenges: RFC 9110,
11.6.1. A secret is in no message, no repr and no argument of a program.
"""

from __future__ import annotations

import os
import stat

from cratebox import jsontext
from cratebox.errors import CrateError, InvalidValue
from cratebox.paths import config_home, home, xdg
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.image.reference import Reference

_MAX_FILE = 4 << 20
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-!#$%&'*+^`|~")
HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
HUB_KEY = "https://index.docker.io/v1/"  # what docker login calls Docker Hub


class Credential(Record):
    """A way to prove who we are. `identity_token` (an OAuth2 refresh token) stands instead of name and password."""

    username: str
    password: str
    identity_token: str = ""
    where: str = ""  # the file it came from

    def __repr__(self) -> str:
        return f"Credential(from {self.where})"

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        from base64 import b64encode

        return "Basic " + b64encode(f"{self.username}:{self.password}".encode()).decode()


class Found(Record):
    """What a search came to. `notes`: what was in its way, one line each, for the hint of a refusal."""

    credential: Credential | None = None
    notes: tuple[str, ...] = ()


def find(reference: Reference, alone: str = "") -> Found:
    """Return the credential saved for the registry of `reference`, the most specific one.
    Raises InvalidValue for a bad file.
    """
    notes: list[str] = []
    for path in files(alone):
        document = read(path, notes)
        credential = _from_helpers(document, reference, path, notes) or _from_auths(document, reference, path)
        if credential is not None:
            return Found(credential=credential, notes=tuple(notes))
    return Found(notes=tuple(notes))


def files(alone: str = "") -> tuple[str, ...]:
    """Return the paths of the files that may have credentials, in the order they are looked at; `alone` names the only one."""
    if only := alone or os.environ.get("REGISTRY_AUTH_FILE"):
        return (only,)
    runtime = xdg("XDG_RUNTIME_DIR", "")
    podman = (f"{runtime}/containers/auth.json",) if runtime != home() else ()
    docker = os.environ.get("DOCKER_CONFIG") or f"{home()}/.docker"
    return (*podman, f"{config_home()}/containers/auth.json", f"{docker}/config.json")


def read(path: str, notes: list[str]) -> dict[str, Any]:
    """Return what the file `path` has, nothing where there is none; why it cannot be read is noted. Raises InvalidValue."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        notes.append(f"{path} cannot be read: {error.strerror}")
        return {}
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidValue(f"{path} is not a file")
        raw = file.read(_MAX_FILE + 1)
    try:
        # podman login may leave an empty file behind.
        document = jsontext.loads(raw) if raw.strip() else {}
    except jsontext.JSONError:
        raise InvalidValue(f"{path} is not JSON", "docker login or podman login write it anew") from None
    if not isinstance(document, dict):
        raise InvalidValue(f"{path} is not a JSON object")
    return document


def _keys(reference: Reference) -> list[str]:
    """The names under which a credential may be saved, the most specific first: h.io/a/b, h.io/a, h.io."""
    parts = reference.repository.split("/")
    names = ["/".join((reference.registry, *parts[:length])) for length in range(len(parts), -1, -1)]
    return [*names, *HUB[1:], HUB_KEY] if reference.registry == "docker.io" else names


def _from_auths(document: dict[str, Any], reference: Reference, path: str) -> Credential | None:
    auths = document.get("auths")
    if not isinstance(auths, dict):
        return None
    saved = {plain_key(key): entry for key, entry in reversed(auths.items()) if isinstance(entry, dict)}
    for key in _keys(reference):
        credential = _decode(saved.get(plain_key(key)), path)
        if credential is not None:
            return credential
    return None


def plain_key(key: str) -> str:
    """Return the place that a key of "auths" is of. Old tools saved addresses: https://host/v1/.

    A path that is not an API's stays, or one team would get another's.
    """
    for scheme in ("https://", "http://"):
        if key.startswith(scheme):
            key = key[len(scheme) :]
            host, _, rest = key.partition("/")
            return host.lower() if rest.strip("/") in ("", "v1", "v2") else key
    return key


def _decode(entry: dict[str, Any] | None, path: str) -> Credential | None:
    if entry is None:
        return None
    token, auth = entry.get("identitytoken"), entry.get("auth")
    username, password = entry.get("username"), entry.get("password")
    if isinstance(auth, str) and auth:
        username, password = _split_auth(auth, path)
    if not (isinstance(username, str) and isinstance(password, str)):
        username = password = ""
    if isinstance(token, str) and token:
        return Credential(username=username, password="", identity_token=token, where=path)
    return Credential(username=username, password=password, where=path) if username else None


def _split_auth(auth: str, path: str) -> tuple[str, str]:
    from base64 import b64decode

    try:
        username, colon, password = b64decode(auth, validate=True).decode().partition(":")
    except ValueError:
        username, colon, password = "", "", ""
    if not colon:
        raise InvalidValue(f"{path} has an auth that is not the base64 of NAME:PASSWORD", "docker login writes it anew")
    return username, password.rstrip("\0")


def _from_helpers(document: dict[str, Any], reference: Reference, path: str, notes: list[str]) -> Credential | None:
    helpers = document.get("credHelpers")
    if isinstance(helpers, dict):
        for key in _keys(reference):
            if key in helpers:
                return _ask_helper(helpers[key], server_name(key), path, notes)
    if document.get("credsStore"):
        return _ask_helper(document["credsStore"], server_name(reference.registry), path, notes)
    return None


def server_name(key: str) -> str:
    """Return what helpers know the registry `key` by."""
    return HUB_KEY if key in HUB else key


def _ask_helper(name: object, server: str, path: str, notes: list[str]) -> Credential | None:
    """Ask a helper for the secret of `server`. One that fails is a note: the image may be public."""
    from cratebox.image import credential_helper

    try:
        username, secret = credential_helper.get(credential_helper.named(name, path), server)
    except CrateError as error:
        if isinstance(error, InvalidValue):
            raise
        notes.append(error.message)
        return None
    if not secret:
        return None
    if username == "<token>":
        return Credential(username="", password="", identity_token=secret, where=path)
    return Credential(username=username, password=secret, where=path)


class Challenge(Record):
    """One challenge of a WWW-Authenticate header: the scheme and the names of its parameters are lower case."""

    scheme: str
    parameters: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Return the challenges of a WWW-Authenticate header, empty for one that cannot be read.

    A comma separates parameters as well as challenges (RFC 9110, 11.6.1): a word without "=" begins the next one.
    """
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(header):
        if header[position] in ", \t":
            position += 1
            continue
        end = _word_end(header, position)
        if end == position:
            return ()
        word, position = header[position:end].lower(), end
        after = _skip_blanks(header, position)
        if header[after : after + 1] == "=" and found:
            value, position = _value(header, _skip_blanks(header, after + 1))
            found[-1][1].setdefault(word, value)
        else:
            found.append((word, {}))
    return tuple(Challenge(scheme=scheme, parameters=parameters) for scheme, parameters in found)


def _word_end(text: str, position: int) -> int:
    while position < len(text) and text[position] in _TOKEN:
        position += 1
    return position


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t":
        position += 1
    return position


def _value(text: str, position: int) -> tuple[str, int]:
    """Read a word or a quoted text at `position`; return it and where it ends. A quote that never ends, ends the text."""
    if text[position : position + 1] != '"':
        end = position
        while end < len(text) and text[end] not in ", \t":
            end += 1
        return text[position:end], end
    value, position = "", position + 1
    while position < len(text) and text[position] != '"':
        if text[position] == "\\":
            position += 1
        value += text[position : position + 1]
        position += 1
    return value, position + 1
