"""Lists of manifests that are made here: one name for the images of several platforms, to be pushed.

A list is an OCI image index (image-spec, image-index.md), a blob of the store like any other; index.json names it by an
annotation of its own, so that a list and an image may have the same name.
What the list refers to is kept as long as the list is.
"""

from __future__ import annotations

from cratebox import jsontext
from cratebox.errors import Conflict, InvalidValue, NotFound, StorageError, Unsupported, Untrusted
from cratebox.image import digest as digests
from cratebox.image import index
from cratebox.image import manifest as manifests
from cratebox.image.manifest import MAX_DOCUMENT, OCI_INDEX, Descriptor, Index, Manifest
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from cratebox.image.mirrors import Mirrored
    from cratebox.image.progress import Progress
    from cratebox.image.store import Store

    Document = dict[str, Any]
    Edit = Callable[[Document], Document]

LIST_NAME = "org.cratebox.list.name"


class Details(Record):
    """What an entry of a list is to say of its image, where that is not what the image says itself; None and () leave it."""

    architecture: str | None = None
    os: str | None = None
    variant: str | None = None
    os_version: str | None = None
    os_features: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    annotations: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed


# The documents


def empty() -> dict[str, Any]:
    """Return the document of a list of nothing."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def load(raw: bytes) -> dict[str, Any]:
    """Return the document of an index, as it is to be changed: fields that crate does not know stay. Raises Untrusted."""
    if not isinstance(manifests.parse(raw, None), Index):
        raise Untrusted("it is no index")
    document: dict[str, Any] = jsontext.loads(raw)
    document["manifests"] = document.get("manifests") or []
    return document


def entry_for(descriptor: Descriptor, details: Details) -> dict[str, Any]:
    """Return the entry of a list for a manifest, with what is to be said of it."""
    return _detailed(manifests.as_json(descriptor.replace(annotations={}, urls=())), details)


def _detailed(entry: dict[str, Any], details: Details) -> dict[str, Any]:
    words = {
        "architecture": details.architecture, "os": details.os, "variant": details.variant, "os.version": details.os_version,
        "os.features": list(details.os_features) or None, "features": list(details.features) or None,
    }  # fmt: skip
    given = {key: value for key, value in words.items() if value is not None}
    platform = {**(entry.get("platform") or {}), **given}
    platform = {key: value for key, value in platform.items() if value or key in {"architecture", "os"}}
    annotations = {**(entry.get("annotations") or {}), **details.annotations}
    changed = {**entry, **({"platform": platform} if platform else {}), **({"annotations": annotations} if annotations else {})}
    if platform and not (platform.get("os") and platform.get("architecture")):
        raise InvalidValue(f"{entry['digest']} does not say which platform it is for", "--os OS --arch ARCHITECTURE")
    return changed


def with_entry(document: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Return the list with an entry more, or in place of the one for the same manifest."""
    others = [one for one in document["manifests"] if one["digest"] != entry["digest"]]
    return {**document, "manifests": [*others, entry]}


def detailed(document: dict[str, Any], digest: str, details: Details) -> dict[str, Any]:
    """Return the list with other words about the manifest `digest`. Raises NotFound, InvalidValue."""
    _check_has(document, digest)
    entries = [_detailed(one, details) if one["digest"] == digest else one for one in document["manifests"]]
    return {**document, "manifests": entries}


def without(document: dict[str, Any], digest: str) -> dict[str, Any]:
    """Return the list without the manifest `digest`. Raises NotFound."""
    _check_has(document, digest)
    return {**document, "manifests": [one for one in document["manifests"] if one["digest"] != digest]}


def annotated(document: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    """Return the list with annotations of its own."""
    return {**document, "annotations": {**(document.get("annotations") or {}), **annotations}} if annotations else document


def _check_has(document: dict[str, Any], digest: str) -> None:
    if all(one["digest"] != digest for one in document["manifests"]):
        raise NotFound(f"the list has no manifest {digest}", "crate manifest inspect shows those it has")


# In the store


def names(store: Store) -> Sequence[tuple[str, Descriptor]]:
    """Return (full name, descriptor) of each list, in the order they were made. Raises StorageError."""
    return [(entry.annotations[LIST_NAME], entry) for entry in index.read(store.directory) if LIST_NAME in entry.annotations]


def find(store: Store, name: str) -> Descriptor:
    """Return the descriptor of the list of that full name. Raises NotFound, StorageError."""
    for known, entry in names(store):
        if known == name:
            return entry
    raise NotFound(f"there is no list of manifests {name}", f"crate manifest create {name}")


def read(store: Store, name: str) -> dict[str, Any]:
    """Return the document of a list. Raises NotFound, StorageError."""
    return _read(store, find(store, name))


def _read(store: Store, entry: Descriptor) -> dict[str, Any]:
    try:
        return load(store.read_blob(entry.digest, MAX_DOCUMENT))
    except (Untrusted, NotFound) as error:
        raise StorageError(f"damaged: {store.blob_path(entry.digest)}: {error}", "crate manifest rm removes the list") from None


def change(store: Store, name: str, edit: Callable[[dict[str, Any] | None], dict[str, Any]]) -> str:
    """Replace a list by what `edit` makes of its document (None: there is none), and return the new digest.

    Nobody else changes it meanwhile. The caller is `using` the store since it found what the list refers to. Raises what
    `edit` does, InvalidValue for a list that would be too large, StorageError.
    """
    digest = ""

    def edited(entries: list[Descriptor]) -> list[Descriptor]:
        nonlocal digest
        old = next((entry for entry in entries if entry.annotations.get(LIST_NAME) == name), None)
        raw = jsontext.dumps(edit(_read(store, old) if old else None)).encode()
        if len(raw) > MAX_DOCUMENT:
            raise InvalidValue(f"the list {name} would have more than {MAX_DOCUMENT} bytes", "registries take no larger one")
        digest = digests.of(raw)
        new = Descriptor(OCI_INDEX, digest, len(raw), {LIST_NAME: name})
        store.put(new, raw)
        return [new if entry is old else entry for entry in entries] if old else [*entries, new]

    store.edit_index(edited)
    return digest


def delete(store: Store, name: str) -> str:
    """Take a list out of the store, and return its digest; what it had alone is left to `collect`.
    Raises NotFound, StorageError.
    """
    gone = find(store, name)
    store.edit_index(lambda entries: [entry for entry in entries if entry.annotations.get(LIST_NAME) != name])
    return gone.digest


# From registries


def fetch(
    store: Store, registry: Mirrored, every: bool, choose: Callable[[Index], Descriptor], progress: Progress
) -> list[Descriptor]:
    """Bring what a name stands for into the store, packed as it is there: it is for a list, not for containers.

    Of an index, the entry that `choose` returns, or with `every` all of them. Returns their descriptors, with their platforms.
    The caller is `using` the store. Raises NotFound, RegistryError, Untrusted, Unsupported, StorageError.
    """
    top = registry.resolve()
    document = manifests.parse(top.raw, top.descriptor.media_type or None)
    if isinstance(document, Manifest):
        return [_fetch_one(store, registry, top.descriptor.replace(media_type=document.media_type), top.raw, progress)]
    found = []
    for entry in document.manifests if every else (choose(document),):
        if entry.media_type not in manifests.MANIFEST_TYPES:
            raise Unsupported(f"it is an index that has {shown(entry.media_type)}")
        one = _fetch_one(store, registry, entry, registry.manifest(entry).raw, progress)
        found.append(one.replace(annotations=entry.annotations))
    return found


def document_of(registry: Mirrored) -> Document:
    """Return the manifest or index that a name stands for in its registry.
    Raises NotFound, RegistryError, Untrusted, Unsupported.
    """
    found = registry.resolve()
    manifests.parse(found.raw, found.descriptor.media_type or None)
    document: Document = jsontext.loads(found.raw)
    return document


def each_of(registry: Mirrored, name: str) -> list[Document]:
    """Return, as `described`, each manifest that a name stands for in its registry. Raises as `document_of`."""
    top = registry.resolve()
    document = manifests.parse(top.raw, top.descriptor.media_type or None)
    if isinstance(document, Index):
        return [described(name, entry, registry.manifest(entry).raw) for entry in document.manifests]
    config = manifests.parse_config(registry.small_blob(document.config, MAX_DOCUMENT))
    return [described(name, top.descriptor.replace(media_type=document.media_type, platform=config.platform), top.raw)]


def each_in(store: Store, name: str) -> list[Document]:
    """Return, as `described`, each manifest of a list of the store. Raises NotFound, StorageError."""
    entry = find(store, name)
    _read(store, entry)
    document = manifests.parse(store.read_blob(entry.digest, MAX_DOCUMENT), OCI_INDEX)
    entries = document.manifests if isinstance(document, Index) else ()
    return [described(name, one, store.read_blob(one.digest, MAX_DOCUMENT)) for one in entries]


def described(name: str, entry: Descriptor, raw: bytes) -> Document:
    """Return a manifest in the form of `docker manifest inspect --verbose`."""
    from base64 import b64encode

    kind = "SchemaV2Manifest" if entry.media_type == manifests.DOCKER_MANIFEST else "OCIManifest"
    descriptor = entry_for(entry, Details(annotations=entry.annotations))
    reference = f"{name.partition('@')[0]}@{entry.digest}"
    return {"Ref": reference, "Descriptor": descriptor, "Raw": b64encode(raw).decode(), kind: jsontext.loads(raw)}


def _fetch_one(store: Store, registry: Mirrored, entry: Descriptor, raw: bytes, progress: Progress) -> Descriptor:
    manifest = manifests.parse(raw, entry.media_type)
    if not isinstance(manifest, Manifest):
        raise Unsupported("it is an index within an index")
    for layer in manifest.layers:
        manifests.check_distributable(layer.media_type)
    for blob in dict.fromkeys((manifest.config.digest, *(layer.digest for layer in manifest.layers))):
        _fetch_blob(store, registry, next(one for one in (manifest.config, *manifest.layers) if one.digest == blob), progress)
    descriptor = Descriptor(entry.media_type, entry.digest, len(raw), platform=entry.platform)
    store.put(descriptor, raw)
    if descriptor.platform is None and manifest.config.media_type in manifests.CONFIG_TYPES:
        config = manifests.parse_config(store.read_blob(manifest.config.digest, MAX_DOCUMENT))
        descriptor = descriptor.replace(platform=config.platform)
    return descriptor


def _fetch_blob(store: Store, registry: Mirrored, blob: Descriptor, progress: Progress) -> None:
    with store.writer(blob) as writer:
        progress.layer(blob.digest, blob.size)
        there = writer.done
        if not there:
            for chunk in registry.blob(blob, writer.offset):
                writer.write(chunk)
                progress.advance(blob.digest, len(chunk))
            writer.commit()
        progress.done(blob.digest, "already exists" if there else "done")


def digest_in(document: dict[str, Any], text: str) -> str | None:
    """Return the one digest of a list that is, or begins as, `text`; None where none does. Raises Conflict where several do."""
    wanted = text.rpartition("@")[2].removeprefix("sha256:")
    if len(wanted) < 3 or not set(wanted) <= set("0123456789abcdef"):
        return None
    found = [one["digest"] for one in document["manifests"] if one["digest"].partition(":")[2].startswith(wanted)]
    if len(found) > 1:
        raise Conflict(f"the list has {len(found)} manifests whose digest begins so: {shown(text)}")
    return found[0] if found else None
