"""The documents of an image that adds one layer to another: OCI image-spec, config.md and manifest.md. Pure."""

from __future__ import annotations

from cratebox import jsontext
from cratebox.errors import Unsupported, Untrusted
from cratebox.image import digest as digests
from cratebox.image import manifest as manifests
from cratebox.image.manifest import Descriptor, Manifest
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.image.new_layer import NewLayer
    from cratebox.image.platform import Platform

_OCI_LAYER, _DOCKER_LAYER = "application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."
_TO_OCI = {
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    manifests.DOCKER_GZIP_LAYER: manifests.OCI_GZIP_LAYER,
}
_TO_DOCKER = {oci: docker for docker, oci in _TO_OCI.items()}
# Of Docker's own: how the layer below was made, not what the image is.
_NOT_INHERITED = ("id", "parent", "container", "container_config", "docker_version", "comment")


class Step(Record):
    """What the history says of the new layer. `created` is RFC 3339; what is empty is not said."""

    created: str
    created_by: str = ""
    author: str = ""
    comment: str = ""


class Documents(Record):
    """A config and a manifest as they are stored, and how they are referred to."""

    raw_config: bytes
    config: Descriptor
    raw_manifest: bytes
    manifest: Descriptor


def nothing(platform: Platform) -> tuple[Manifest, bytes]:
    """Return the base of an image whose new layer is its first: a manifest without layers,
    and a config that says for what it is.
    """
    said = {"architecture": platform.architecture, "os": platform.os} | (
        {"variant": platform.variant} if platform.variant else {}
    )
    raw = jsontext.dumps(said).encode()
    return Manifest(manifests.OCI_MANIFEST, _descriptor(manifests.OCI_CONFIG, raw), ()), raw


def compose(base: Manifest, raw_base: bytes, run: dict[str, Any], layer: NewLayer, step: Step, *, docker: bool) -> Documents:
    """Return the documents of an image of `base` (whose config is `raw_base`) with `layer` on top and run as `run` says.

    `run` replaces the fields of "config" that it has; None takes one away. A layer without an entry is none. Raises Untrusted.
    """
    document = jsontext.loads(raw_base)
    if not isinstance(document, dict):
        raise Untrusted("the image config is not a JSON object")
    rootfs, history = document.get("rootfs") or {}, document.get("history") or []
    inner = {**(document.get("config") or {}), **run}
    document = {key: value for key, value in document.items() if key not in _NOT_INHERITED} | {
        "created": step.created,
        "config": {key: value for key, value in inner.items() if value is not None},
        "rootfs": {"type": "layers", "diff_ids": [*rootfs.get("diff_ids", []), *([] if layer.is_empty else [layer.diff_id])]},
        "history": [*history, _history(step, layer.is_empty)],
    }
    if step.author:
        document["author"] = step.author
    raw_config = jsontext.dumps(document).encode()
    config = _descriptor(manifests.DOCKER_CONFIG if docker else manifests.OCI_CONFIG, raw_config)
    layers = [*base.layers, *([] if layer.is_empty else [layer.blob])]
    kind = manifests.DOCKER_MANIFEST if docker else manifests.OCI_MANIFEST
    raw_manifest = manifests.encode(Manifest(kind, config, tuple(_in_form(one, docker=docker) for one in layers)))
    return Documents(raw_config, config, raw_manifest, _descriptor(kind, raw_manifest))


def _history(step: Step, empty: bool) -> dict[str, Any]:
    said = {key: value for key, value in step.as_dict().items() if value}
    return {**said, "empty_layer": True} if empty else said


def _descriptor(media_type: str, raw: bytes) -> Descriptor:
    return Descriptor(media_type, digests.of(raw), len(raw))


def _in_form(layer: Descriptor, *, docker: bool) -> Descriptor:
    """A manifest of one form names its layers in the words of that form."""
    kind = (_TO_DOCKER if docker else _TO_OCI).get(layer.media_type, layer.media_type)
    if kind.startswith(_OCI_LAYER if docker else _DOCKER_LAYER):
        raise Unsupported(
            f"a layer of type {layer.media_type} cannot be in an image of {'Docker' if docker else 'OCI'}'s form",
            f"--format {'oci' if docker else 'docker'}",
        )
    return Descriptor(kind, layer.digest, layer.size, urls=layer.urls)
