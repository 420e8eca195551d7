"""What speaks of a manifest: signatures, reports and other artifacts whose subject it is.

Format: OCI distribution-spec 1.1, "Listing Referrers", and for registries without it the "Referrers Tag Schema": an index by
the tag ALGORITHM-HEX of the subject, which clients keep themselves.
"""

from __future__ import annotations

from urllib.parse import quote

from cratebox import jsontext
from cratebox.errors import RegistryError, Untrusted
from cratebox.image import digest as digests
from cratebox.image import manifest as manifests
from cratebox.image.artifact import Artifact, texts
from cratebox.image.manifest import MAX_DOCUMENT, OCI_INDEX, OCI_MANIFEST
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.image.asking import Reply
    from cratebox.image.registry import Registry

_LONGEST_TAG = 128


class Referrer(Record):
    """One manifest that has the subject. `size`: bytes of the manifest itself."""

    digest: str
    type: str
    size: int
    annotations: dict[str, str]


def listed(registry: Registry, subject: str, kind: str | None = None) -> tuple[Referrer, ...]:
    """Return what refers to the manifest `subject` (a digest), that of one type alone where `kind` says so.

    Raises RegistryError, Untrusted.
    """
    query = f"?artifactType={quote(kind, safe='')}" if kind else ""
    reply = registry.request("GET", f"referrers/{digests.check(subject)}{query}", {"Accept": OCI_INDEX})
    if reply.status == 404:  # no such API: where it is there, nothing is an empty index
        reply.drain()
        entries = _entries_by_tag(registry, subject)
    elif reply.status == 200:
        if 'rel="next"' in (reply.header("Link") or ""):
            raise RegistryError(f"{reply.described}: there are more than one page of referrers", "ask for those of one type")
        entries = _entries(reply)
    else:
        raise registry.refusal(reply, f"what refers to {subject}")
    found = [_referrer(each) for each in entries]
    return tuple(each for each in found if kind in (None, each.type))


def add(registry: Registry, artifact: Artifact) -> None:
    """Note by hand that `artifact` speaks of its subject, for a registry that does not. Raises RegistryError, Untrusted."""
    entry = {
        "mediaType": OCI_MANIFEST,
        "digest": artifact.digest,
        "size": artifact.size,
        "artifactType": artifact.type,
        **({"annotations": artifact.annotations} if artifact.annotations else {}),
    }
    _change(registry, artifact, [entry])


def remove(registry: Registry, artifact: Artifact) -> None:
    """Take the note of `artifact` away, where there is one. Raises RegistryError, Untrusted."""
    _change(registry, artifact, [])


def _change(registry: Registry, artifact: Artifact, added: list[dict[str, Any]]) -> None:
    from cratebox.image.upload import Uploads

    assert artifact.subject is not None
    subject = artifact.subject.digest
    before = _entries_by_tag(registry, subject)
    entries = [each for each in before if each.get("digest") != artifact.digest] + added
    if entries != before:
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        Uploads(registry).manifest(jsontext.dumps(document).encode(), OCI_INDEX, _tag(subject))


def _tag(subject: str) -> str:
    return subject.replace(":", "-")[:_LONGEST_TAG]


def _entries_by_tag(registry: Registry, subject: str) -> list[dict[str, Any]]:
    reply = registry.request("GET", f"manifests/{_tag(digests.check(subject))}", {"Accept": OCI_INDEX})
    if reply.status == 404:
        reply.drain()
        return []
    if reply.status != 200:
        raise registry.refusal(reply, f"what refers to {subject}")
    return _entries(reply)


def _entries(reply: Reply) -> list[dict[str, Any]]:
    """Return the entries of an index, each a descriptor with more in it. Raises Untrusted."""
    raw = reply.body(MAX_DOCUMENT)
    if isinstance(manifests.parse(raw, OCI_INDEX), manifests.Manifest):
        raise Untrusted(f"{reply.described}: the answer is no index")
    return list(jsontext.loads(raw)["manifests"] or ())


def _referrer(entry: dict[str, Any]) -> Referrer:
    descriptor = manifests.parse_descriptor(entry)
    kind = entry.get("artifactType")
    return Referrer(descriptor.digest, kind if isinstance(kind, str) else "", descriptor.size, texts(entry.get("annotations")))
