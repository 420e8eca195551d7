"""Places of names, as registries.conf and policy.json write them, and which of them a name is in.

    *.example.com  h.example.com  h.example.com:5000/team  .../team/app  .../team/app:tag  .../team/app@sha256:...

Formats: containers-registries.conf(5), "Choosing a [[registry]] TOML table"; containers-policy.json(5), "docker:". Names are
compared in full: docker.io/library/alpine, never alpine. The host is the same in any case of its letters, as in the DNS.
"""

from __future__ import annotations

from cratebox.errors import InvalidValue
from cratebox.image import reference as references
from cratebox.image.reference import Reference
from cratebox.text import shown


def check(text: str, where: str) -> str:
    """Return a place in the form that `scopes` has. `where` begins the message of an InvalidValue."""
    text = text.rstrip("/")
    if "://" in text:
        raise InvalidValue(f"{where}: {shown(text)} is an address", "write HOST[:PORT][/PATH], without a scheme")
    host, slash, path = text.partition("/")
    wildcard = host.startswith("*.")
    if "*" in host and (not wildcard or slash or ":" in host):
        raise InvalidValue(f"{where}: {shown(text)} is no place", "a * stands for what is before a domain alone: *.example.com")
    try:
        references.check_registry(text, host[2:] if wildcard else host)
        if slash:
            _check_path(text, path)
    except InvalidValue as error:
        raise InvalidValue(f"{where}: {error.message}", error.hint) from None
    return _host(host) + slash + path


def check_location(text: str, where: str) -> str:
    """Return HOST[:PORT][/PATH], to which names are moved. Raises InvalidValue as `check` does."""
    found = check(text, where)
    _, _, path = found.partition("/")
    if found.startswith("*") or ":" in path or "@" in path:
        raise InvalidValue(f"{where}: {shown(text)} is nowhere that a name can be moved to", "write HOST[:PORT][/PATH]")
    return found


def scopes(reference: Reference) -> list[str]:
    """Return every place that a name is in, the closest first: itself, its repository, what that is below, host, domains."""
    host = _host(reference.registry)
    name = f"{host}/{reference.repository}"
    tag = f":{reference.tag}" if reference.tag else ""
    digest = f"@{reference.digest}" if reference.digest else ""
    found = [name + suffix for suffix in dict.fromkeys((tag + digest, digest, tag)) if suffix]
    while "/" in name:
        found.append(name)
        name = name.rpartition("/")[0]
    return [*found, host, *_domains(host)]


def moved(reference: Reference, scope: str, location: str) -> Reference:
    """Return the same name below `location` instead of the place `scope` that it is in.
    Raises InvalidValue where none is left.
    """
    name = f"{_host(reference.registry)}/{reference.repository}"
    rest = f"/{reference.repository}" if scope.startswith("*.") else name[len(scope) :]
    host, _, path = (location + rest).partition("/")
    references.check_repository(location + rest, path)
    return reference.replace(registry=host, repository=path)


def _check_path(text: str, path: str) -> None:
    name, at, digest = path.partition("@")
    head, slash, last = name.rpartition("/")
    word, colon, tag = last.partition(":")
    references.check_repository(text, head + slash + word)
    if at:
        references.check_digest(digest)
    if colon:
        references.check_tag(text, tag)


def _host(text: str) -> str:
    return references.canonical_registry(text.lower())


def _domains(host: str) -> list[str]:
    """*.b.c and *.c for a.b.c:5000; an address has no domains."""
    labels = [] if host.startswith("[") else host.partition(":")[0].split(".")
    return ["*." + ".".join(labels[first:]) for first in range(1, len(labels))]
