"""Where an image comes from: a registry, or one of the transports that may stand wherever IMAGE stands.

alpine                     a name in a registry
oci:DIR[:TAG]              a directory in the layout of the OCI image-spec
oci-archive:FILE           the same as a tar file
docker-archive:FILE        what `docker save` writes
rootfs:DIR                 a directory of this machine, used as it is
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue
from cratebox.image import reference as references
from cratebox.image.reference import Reference
from cratebox.record import Record
from cratebox.text import shown

TRANSPORTS = ("oci", "docker-archive", "oci-archive", "rootfs")


class Source(Record):
    """One place an image comes from. `path` is absolute, and empty for a registry, which has a `reference` instead.

    Two kinds nobody can write: "archive" is one of oci, oci-archive and docker-archive, what is in it tells which; "tarball" is
    a root file system that is imported.
    """

    kind: str
    path: str = ""
    tag: str | None = None
    reference: Reference | None = None

    def __str__(self) -> str:
        if self.reference is not None:
            return str(self.reference)
        if self.kind in ("archive", "tarball"):
            return self.path
        return f"{self.kind}:{self.path}" + (f":{self.tag}" if self.tag else "")


def parse(text: str) -> Source:
    """Return the source that `text` names. Raises InvalidValue.

    `oci:latest` is the directory `latest`; an image of the name oci is written docker.io/library/oci.
    """
    kind, colon, path = text.partition(":")
    if not colon or kind not in TRANSPORTS:
        return Source(kind="registry", reference=references.parse(text))
    tag = None
    if kind == "oci":
        path, tag = _split_tag(path)
    if not path or "\0" in path:
        raise InvalidValue(f"{shown(text)}: {kind}: wants a path after the colon")
    # Absolute from here on: a container made now may be started from another directory.
    return Source(kind=kind, path=os.path.abspath(path), tag=tag)


def _split_tag(path: str) -> tuple[str, str | None]:
    """A tag follows the last colon that no slash comes after."""
    head, colon, tail = path.rpartition(":")
    return (head, tail or None) if colon and "/" not in tail else (path, None)
