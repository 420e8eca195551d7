"""`engine.artifacts`: files in registries that are no images, and what speaks of an image there.
They are not kept in the store.
"""

from __future__ import annotations

from contextlib import contextmanager

from cratebox.engine.pushing import speaking
from cratebox.errors import InvalidValue
from cratebox.image import reference as references
from cratebox.image.digest import is_digest
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cratebox.image.access import Access
    from cratebox.image.artifact import Artifact
    from cratebox.image.manifest import Descriptor
    from cratebox.image.mirrors import Mirrored
    from cratebox.image.progress import Progress
    from cratebox.image.reference import Reference
    from cratebox.image.referrers import Referrer
    from cratebox.image.registry import Registry

DEFAULT_TYPE = "application/vnd.unknown.artifact.v1"


class Artifacts:
    """The artifacts of registries."""

    def __init__(self, paths: Paths, access: Access | None = None) -> None:
        self._paths, self._access = paths, access

    def push(
        self,
        name: str,
        files: Sequence[tuple[str, str]],
        artifact_type: str = DEFAULT_TYPE,
        annotations: Mapping[str, str] | None = None,
        subject: str | None = None,
        progress: Progress | None = None,
    ) -> Artifact:
        """Push files (path, media type or "") as `name`; one with a `subject` and no tag goes by its digest alone.

        `subject`: what it speaks of, a name, tag or digest in the same repository. Raises InvalidValue, NotFound,
        RegistryError, StorageError.
        """
        from cratebox.image.progress import Silent

        target = references.nameable(name)
        if subject is not None and not references.has_tag(name):
            target = target.replace(tag=None)
        with self._registry(target, "pull,push") as registry:
            from cratebox.image import artifact_files

            about = self._subject(registry, subject) if subject is not None else None
            return artifact_files.send(registry, files, artifact_type, dict(annotations or {}), about, progress or Silent())

    def pull(
        self, name: str, directory: str = ".", *, force: bool = False, dotfiles: bool = False, progress: Progress | None = None
    ) -> Sequence[str]:
        """Write the files of an artifact into `directory`, all or none; return their paths. `force`: in place of others;
        `dotfiles`: also those whose name begins with a dot.

        Raises InvalidValue, NotAllowed (by policy.json, or blocked), Conflict, NotFound, RegistryError,
        StorageError, Untrusted.
        """
        from cratebox.image.progress import Silent

        told = progress or Silent()
        with self._reading(references.parse(name), told.message, bring=True) as registry:
            from cratebox.image import artifact_files

            return artifact_files.fetch(registry, directory, told, force=force, dotfiles=dotfiles)

    def list(self, name: str, artifact_type: str | None = None) -> Sequence[Referrer]:
        """Return what speaks of the image or artifact `name`. Raises InvalidValue, NotFound, RegistryError, Untrusted."""
        with self._reading(references.parse(name)) as registry:
            return registry.referrers(registry.resolve().descriptor.digest, artifact_type)

    def get(self, name: str) -> Artifact:
        """Return what an artifact is. Raises InvalidValue, NotFound, RegistryError, Untrusted."""
        with self._reading(references.parse(name)) as registry:
            return _artifact(registry)

    def remove(self, name: str) -> str:
        """Delete an artifact in its registry, with all of its tags; return its digest.
        Raises as `get`, InvalidValue for an image.
        """
        with self._registry(references.parse(name), "pull,push,delete") as registry:
            found = _artifact(registry)
            if found.is_image():
                raise InvalidValue(f"{registry.reference.familiar} is an image, not an artifact: it is not deleted")
            reply = registry.request("DELETE", f"manifests/{found.digest}", {})
            if reply.status not in (200, 202, 204):
                raise registry.refusal(reply, f"the deletion of {found.digest}")
            reply.drain()
            if found.subject is not None:
                from cratebox.image import referrers

                referrers.remove(registry, found)
            return found.digest

    def _subject(self, registry: Registry, text: str) -> Descriptor:
        digest = text.removeprefix("@")
        beside = f"@{digest}" if is_digest(digest) else f":{text.removeprefix(':')}"
        subject = references.parse(text if "/" in text else registry.reference.name + beside)
        if subject.name != registry.reference.name:
            raise InvalidValue(f"{subject.familiar} is not in the repository {registry.reference.name}, as a subject must be")
        with self._registry(subject) as reading:
            return reading.resolve().descriptor

    @contextmanager
    def _reading(
        self, reference: Reference, say: Callable[[str], None] = lambda _text: None, *, bring: bool = False
    ) -> Iterator[Mirrored]:
        """`bring`: files are to come from there, which the policy may not let in."""
        settings = speaking(self._paths, self._access)
        from cratebox.image.mirrors import Mirrored
        from cratebox.image.transport import Source

        if bring:
            settings.policy.check(Source("registry", reference=reference))
        registry = Mirrored(reference, settings, say)
        try:
            yield registry
        finally:
            registry.close()

    @contextmanager
    def _registry(self, reference: Reference, actions: str = "pull") -> Iterator[Registry]:
        """The registry itself: what is changed, or spoken of, is there and at no mirror."""
        settings = speaking(self._paths, self._access)
        from cratebox.image import endpoints
        from cratebox.image.registry import Registry

        endpoint = endpoints.to_write(reference, settings)
        registry = Registry(endpoint.reference, endpoint.settings, actions=actions)
        try:
            yield registry
        finally:
            registry.close()


def _artifact(registry: Registry | Mirrored) -> Artifact:
    from cratebox.image import artifact

    found = registry.resolve()
    return artifact.parse(found.raw, found.descriptor.media_type)
