"""Names of images, as Docker reads them: `alpine`, `ghcr.io/owner/name:tag`, `localhost:5000/x@sha256:...`.

Grammar: the OCI distribution-spec ("Pulling manifests": <name>, <reference>) and, for what may be left out, the rules of
Docker's command line: no registry means docker.io, one word there means library/, neither tag nor digest means latest.
"""

from __future__ import annotations

from cratebox.errors import InvalidValue, Untrusted
from cratebox.image import digest as digests
from cratebox.record import Record
from cratebox.text import shown

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
_DIGITS = frozenset("0123456789")
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_LETTERS = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_WORD = _LETTERS | {"_"}
_TAG = _WORD | {".", "-"}
_HEX = frozenset("0123456789abcdef")


class Reference(Record):
    """A full name. At least one of `tag` and `digest` is there; with both, the digest decides and the tag is decoration."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """The name without tag and digest: docker.io/library/alpine."""
        return f"{self.registry}/{self.repository}"

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix

    @property
    def familiar_name(self) -> str:
        """The name as Docker shows it, without tag and digest: alpine."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        head, _, rest = self.repository.partition("/")
        return rest if head == "library" and rest and "/" not in rest else self.repository

    @property
    def familiar(self) -> str:
        """The name as Docker shows it: alpine:latest."""
        return self.familiar_name + self._suffix


def parse(text: str) -> Reference:
    """Return the full name that `text` stands for. Raises InvalidValue with what is wrong in it."""
    rest, at, digest = text.partition("@")
    if at and not digests.is_digest(digest):
        raise _invalid(text, f"{shown(digest)} is not a digest", "after @ comes sha256: and 64 hexadecimal digits")
    rest, tag = _split_tag(rest)
    if tag is not None:
        check_tag(text, tag)
    if len(rest) == 64 and _HEX.issuperset(rest):
        raise _invalid(text, "64 hexadecimal digits are the ID of an image, not a name")
    registry, repository = _split_registry(rest)
    check_registry(text, registry)
    check_repository(text, repository)
    if tag is None and not digest:
        tag = DEFAULT_TAG
    return Reference(registry=registry, repository=repository, tag=tag, digest=digest or None)


def familiar(name: str) -> str:
    """Return a full name as Docker shows it; what another tool has called an image by its own rules, as it is."""
    try:
        return parse(name).familiar
    except InvalidValue:
        return name


def nameable(text: str) -> Reference:
    """Return the full name that an image can be given: one with a tag. Raises InvalidValue."""
    reference = parse(text)
    if reference.digest:
        raise _invalid(text, "the digest of an image is what comes out, and cannot be given", "REPOSITORY or REPOSITORY:TAG")
    return reference


def server(text: str) -> Reference:
    """Return what `text` names to log in to: a registry, or a place in it, whose repository is empty or a path.
    Raises InvalidValue.

    As other tools do, an address is read as well: https://HOST/v2/.
    """
    plain = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    registry, _, path = plain.removesuffix("/v1").removesuffix("/v2").partition("/")
    registry = canonical_registry(registry)
    check_registry(text, registry)
    if path:
        check_repository(text, path)
    return Reference(registry=registry, repository=path, tag=DEFAULT_TAG)


def has_tag(text: str) -> bool:
    """Tell whether the name `text` says a tag or a digest itself, and is not of all tags where there may be several."""
    return "@" in text or _split_tag(text)[1] is not None


def with_digest(reference: Reference, digest: str) -> Reference:
    """Return the name of the one manifest `digest` in the same repository. Raises Untrusted for what is no digest."""
    return Reference(registry=reference.registry, repository=reference.repository, digest=digests.check(digest))


def _invalid(text: str, why: str, hint: str | None = None) -> InvalidValue:
    return InvalidValue(f"not the name of an image: {shown(text)}: {why}", hint)


def _split_tag(text: str) -> tuple[str, str | None]:
    """The colon of a tag comes after the last slash; one before it belongs to the registry's port."""
    slash = text.rfind("/")
    colon = text.find(":", slash + 1)
    return (text, None) if colon < 0 else (text[:colon], text[colon + 1 :])


def _split_registry(text: str) -> tuple[str, str]:
    head, slash, rest = text.partition("/")
    if slash and _is_registry(head):
        registry, repository = canonical_registry(head), rest
    else:
        registry, repository = DEFAULT_REGISTRY, text
    if registry == DEFAULT_REGISTRY and repository and "/" not in repository:
        repository = "library/" + repository
    return registry, repository


def _is_registry(head: str) -> bool:
    """The first word is a registry where it cannot be a repository: it has a dot, a colon or a capital, or is localhost."""
    return "." in head or ":" in head or head == "localhost" or head != head.lower()


def canonical_registry(registry: str) -> str:
    """Return the one name of a registry that has several: Docker Hub."""
    return DEFAULT_REGISTRY if registry in ("index.docker.io", "registry-1.docker.io") else registry


def short_name(text: str) -> str | None:
    """Return `text` without tag and digest where it names no registry, else None: `team/app` of `team/app:1.0`."""
    name = _split_tag(text.partition("@")[0])[0]
    head, slash, _ = name.partition("/")
    return None if slash and _is_registry(head) else name


def check_registry(text: str, registry: str) -> None:
    """Raise InvalidValue for `text` where its part `registry` is none."""
    if registry.startswith("["):
        host, bracket, port = registry.partition("]")
        good = bool(bracket) and 2 < len(host) < 48 and _HEX.union("ABCDEF:").issuperset(host[1:])
        good = good and (not port or (port[0] == ":" and _is_port(port[1:])))
    else:
        host, colon, port = registry.partition(":")
        good = 0 < len(host) < 254 and all(_is_label(label) for label in host.split(".")) and (not colon or _is_port(port))
    if not good:
        raise _invalid(text, f"{shown(registry)} is not a registry", "a registry is HOST or HOST:PORT")


def _is_label(label: str) -> bool:
    return bool(label) and _LETTERS.union("-").issuperset(label) and label[0] != "-" and label[-1] != "-"


def _is_port(port: str) -> bool:
    return 0 < len(port) < 6 and _DIGITS.issuperset(port) and 0 < int(port) < 65536


def check_tag(text: str, tag: str) -> None:
    """Raise InvalidValue for `text` where its part `tag` is none."""
    if not (0 < len(tag) <= 128 and tag[0] in _WORD and _TAG.issuperset(tag)):
        raise _invalid(text, f"{shown(tag)} is not a tag", "a tag has letters, digits, _ . and -, at most 128 of them")


def check_repository(text: str, repository: str) -> None:
    """Raise InvalidValue for `text` where its part `repository` is none."""
    if not repository:
        raise _invalid(text, "the name is empty")
    if len(repository) > 255:
        raise _invalid(text, "the name is longer than 255 characters")
    for part in repository.split("/"):
        if not _is_component(part):
            hint = "names are lower-case" if part != part.lower() else None
            raise _invalid(text, f"{shown(part)} cannot be part of a name", hint)


def _is_component(part: str) -> bool:
    """[a-z0-9]+ joined by one of: a dot, one or two underscores, any number of dashes."""
    separator = ""
    for character in part:
        if character in _LOWER:
            if not _is_separator(separator):
                return False
            separator = ""
        else:
            separator += character
    return bool(part) and not separator and part[0] in _LOWER


def _is_separator(text: str) -> bool:
    return text in ("", ".", "_", "__") or not text.strip("-")


def check_digest(text: str) -> str:
    """Return `text` where it is a digest that a person may have typed. Raises InvalidValue, not Untrusted."""
    try:
        return digests.check(text)
    except Untrusted as error:
        raise InvalidValue(error.message, error.hint) from None
