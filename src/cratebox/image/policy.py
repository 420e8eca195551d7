"""Which images are let in at all: containers-policy.json(5), which Podman, Buildah and Skopeo obey too.

    ~/.config/containers/policy.json, else /etc/containers/policy.json, else everything is let in, as with Docker

It is asked before anything is fetched or read, with the full name that was typed; mirrors do not change that. What it can
demand of signatures is not there: where it demands one, nothing is let in.
"""

from __future__ import annotations

import os

from cratebox import jsontext
from cratebox.errors import InvalidValue, NotAllowed, Unsupported
from cratebox.image import place
from cratebox.paths import home
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.image.transport import Source

SYSTEM = "/etc/containers/policy.json"
ACCEPT, REJECT = "insecureAcceptAnything", "reject"
SIGNED = ("signedBy", "signedBaseLayer", "sigstoreSigned")
_MAX_FILE = 4 << 20  # bytes
# Of the transports that may be named there, those that crate has, by its names.
_TRANSPORTS = {
    "registry": "docker", "oci": "oci", "oci-archive": "oci-archive", "docker-archive": "docker-archive", "tarball": "tarball",
}  # fmt: skip
_PATHS = frozenset(("oci", "oci-archive", "dir"))  # whose scopes are paths


class Policy(Record):
    """A policy. `default` and each scope have the types of their requirements, all of which must be met.

    `transports`: by transport and scope, "" being the transport's own default; `where`: the file, empty where there is none.
    """

    default: tuple[str, ...] = (ACCEPT,)
    transports: dict[str, dict[str, tuple[str, ...]]] = {}  # noqa: RUF012  a default of a Record is never changed
    where: str = ""

    def check(self, source: Source) -> None:
        """Raise NotAllowed where an image of `source` is not let in, Unsupported where its signature would decide.

        A directory of the machine that is used as it is (rootfs:) is no image, and not asked for.
        """
        transport = _TRANSPORTS.get(source.kind)
        if transport is None:
            return
        for requirement in self._requirements(transport, _scopes(source)):
            if requirement == REJECT:
                raise NotAllowed(f"{_named(source)}: {self.where} rejects it")
            if requirement != ACCEPT:
                raise Unsupported(
                    f"{_named(source)}: {self.where} wants a signature ({requirement}), which crate cannot check",
                    f'podman pull checks it, or let this place in: "type": "{ACCEPT}"',
                )

    def _requirements(self, transport: str, scopes: list[str]) -> tuple[str, ...]:
        said = self.transports.get(transport, {})
        return next((said[scope] for scope in (*scopes, "") if scope in said), self.default)


def load() -> Policy:
    """Return the policy of this user or machine. Raises InvalidValue for one that is not wholly understood: it may forbid."""
    for path in (home() + "/.config/containers/policy.json", SYSTEM):
        try:
            with open(path, "rb") as file:
                raw = file.read(_MAX_FILE + 1)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise InvalidValue(f"cannot read {path}: {error.strerror}") from None
        if len(raw) > _MAX_FILE:
            raise InvalidValue(f"{path} is larger than {_MAX_FILE} bytes")
        return parse(raw, path)
    return Policy()


def parse(raw: bytes, path: str) -> Policy:
    """Return the policy that `raw` is. Raises InvalidValue, with `path` in it."""
    document = _document(raw, path)
    if document.keys() - {"default", "transports"}:
        raise InvalidValue(f"{path}: {shown(min(document.keys() - {'default', 'transports'}))} is nothing a policy has")
    if "default" not in document:
        raise InvalidValue(f"{path}: a policy must have a default", f'"default": [{{"type": "{ACCEPT}"}}]')
    transports = document.get("transports", {})
    if not isinstance(transports, dict) or not all(isinstance(each, dict) for each in transports.values()):
        raise InvalidValue(f"{path}: transports is not an object of objects")
    return Policy(
        default=_types(document["default"], f"{path}: default"),
        transports={
            transport: {
                _scope(transport, scope, f"{path}: {transport}"): _types(wanted, f"{path}: {transport} {shown(scope)}")
                for scope, wanted in said.items()
            }
            for transport, said in transports.items()
        },
        where=path,
    )


def _document(raw: bytes, path: str) -> dict[str, Any]:
    try:
        document = jsontext.loads_once(raw)  # a name that stands twice makes a policy invalid
    except jsontext.RepeatedName as error:
        raise InvalidValue(f"{path}: {error}") from None
    except jsontext.JSONError as error:
        raise InvalidValue(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidValue(f"{path} is not a JSON object")
    return document


def _types(wanted: object, where: str) -> tuple[str, ...]:
    """Return the types of a list of requirements, which must not be empty. What else a signature's has is not looked at."""
    if not isinstance(wanted, list) or not wanted:
        raise InvalidValue(f"{where} is not a list of requirements", "it must have at least one")
    found = []
    for each in wanted:
        kind = each.get("type") if isinstance(each, dict) else None
        if kind not in (ACCEPT, REJECT, *SIGNED):
            raise InvalidValue(f"{where}: {shown(kind)} is no type of requirement that is known")
        if kind in (ACCEPT, REJECT) and len(each) > 1:
            raise InvalidValue(f"{where}: {kind} has nothing but its type")
        found.append(kind)
    return tuple(found)


def _scope(transport: str, scope: str, where: str) -> str:
    """Return a scope as `_scopes` has it; those of transports that crate lacks stay as they are."""
    if not scope:
        return scope
    if transport == "docker":
        return place.check(scope, where)
    if transport in ("docker-archive", "tarball"):
        raise InvalidValue(f"{where}: {shown(scope)}: an archive has no scope but the empty one")
    if transport in _PATHS and (not scope.startswith("/") or scope == "/"):
        raise InvalidValue(f"{where}: {shown(scope)} is not the absolute path of something below /")
    return scope


def _scopes(source: Source) -> list[str]:
    """Return the places that what is asked for is in, the closest first."""
    if source.reference is not None:
        return place.scopes(source.reference)
    if _TRANSPORTS[source.kind] not in _PATHS or not source.path.startswith("/"):  # a stream is nowhere
        return []
    path = os.path.realpath(source.path)  # "must be absolute and contain no symlinks"
    found = [f"{path}:{source.tag}"] if source.tag else []
    while path != "/":
        found.append(path)
        path = os.path.dirname(path)
    return found


def _named(source: Source) -> str:
    return source.reference.familiar if source.reference else str(source)
