"""What containers are made of: an image found in the store, or brought into it, or a directory used as it is.

`run` needs this much of the images; what users do with them otherwise is in images.py.
"""

from __future__ import annotations

import os

from cratebox.engine import resolved
from cratebox.engine.idmaps import Identity
from cratebox.engine.image_defaults import ImageDefaults
from cratebox.errors import Conflict, InvalidValue, NotFound, StorageError, Unsupported
from cratebox.linux.process import boot_id
from cratebox.paths import Paths, private_directory
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager
    from typing import Any

    from cratebox.engine.config import HealthCheck
    from cratebox.engine.records import Container
    from cratebox.image.access import Access
    from cratebox.image.manifest import Descriptor, ImageConfig
    from cratebox.image.progress import Progress
    from cratebox.image.reference import Reference
    from cratebox.image.settings import Settings
    from cratebox.image.store import Store, StoredImage
    from cratebox.image.transport import Source


class Provided(Record):
    """What a container is made of: `layers` are diff IDs, lowest first; `rootfs` is a directory instead, or empty."""

    id: str
    defaults: ImageDefaults
    layers: tuple[str, ...] = ()
    rootfs: str = ""


class Provisions:
    """Where images come from. `last_status` tells what the last pull did: "downloaded" or "present"."""

    def __init__(self, paths: Paths, identity: Identity, access: Access | None = None) -> None:
        """`access`: how the registries are spoken to that are named here, where that is not as it is set up."""
        self.paths, self.identity, self.access = paths, identity, access
        self.last_status = ""
        self._store: Store | None = None
        self._directories: dict[str, tuple[str, ...]] = {}  # of the images this process has found

    @property
    def store(self) -> Store:
        """The store on the disk; the short way of `run` does without."""
        if self._store is None:
            from cratebox.image.store import Store, call_directly

            self._store = Store(
                self.paths.images,
                self.run_inside if self.identity.rootless else call_directly,
                userxattr=self.identity.rootless,
                owners="record" if self.identity.single else "keep",
            )
        return self._store

    def run_inside(self, work: Callable[[], bytes]) -> bytes:
        """Run `work` where the files of this user's containers can be made and deleted, and return what it returns."""
        if not self.identity.rootless:
            return work()
        from cratebox.engine.userspace import runner

        return runner(self.identity)(work)

    def tell_notice(self, progress: Progress | None) -> None:
        """Say once a boot what this machine does not give this user, and how it could."""
        if self.identity.notice and progress is not None:
            from cratebox.engine.notices import once

            once(self.paths, progress, "id-map", f"{self.identity.notice}; to mend it, {self.identity.hint}")

    def using(self) -> AbstractContextManager[Any]:
        """Hold off the removal of images while a container is made of one."""
        locks = self.paths.images + "/locks"
        if os.path.isdir(locks):
            from cratebox.image.locks import hold

            return hold(locks, "store", shared=True)
        return self.store.using()

    def provide(self, name: str, platform: str | None, policy: str, progress: Progress | None = None) -> Provided:
        """Return what a container of image `name` is made of, pulled if `policy` ("always", "missing", "never") says so.

        Raises InvalidValue, NotAllowed (by policy.json, or blocked), NotFound, RegistryError, Untrusted, StorageError.
        """
        if policy != "always" and not platform and (known := resolved.recall(self.paths, name)):
            self._directories[known.id] = known.directories
            return Provided(known.id, known.defaults, known.layers)
        from cratebox.image import transport

        index = resolved.signature(self.paths)
        in_store = True  # and not a file beside it, which may be another one next time
        if _is_id(name):  # a full ID is not the name of anything in a registry
            image = self.store.find(name)
            check_platform(image, platform, name)
        else:
            source = transport.parse(name)
            if source.kind == "rootfs":
                return _directory(source.path)
            in_store = source.kind == "registry"
            image = self._image(source, name, platform, policy, progress)
        config = image.config
        defaults = ImageDefaults(
            entrypoint=config.entrypoint,
            cmd=config.cmd,
            env=config.env,
            working_dir=config.working_dir,
            user=config.user,
            stop_signal=config.stop_signal,
            healthcheck=_healthcheck(config),
            volumes=config.volumes,
            exposed=config.exposed_ports,
            labels=config.labels,
        )
        directories = self._directories[image.id] = self.store.layer_directories(image)
        if in_store and not platform:
            known = resolved.Resolved(index, boot_id(), image.id, defaults, image.layers, directories)
            resolved.remember(self.paths, name, known)
        return Provided(image.id, defaults, image.layers)

    def _image(self, source: Source, name: str, platform: str | None, policy: str, progress: Progress | None) -> StoredImage:
        if policy != "always" and source.kind == "registry":
            try:
                found = self.store.find(self.known_as(name))
            except NotFound as error:
                if policy == "never":
                    raise self._unknown(name, error) from None
            else:
                check_platform(found, platform, name)
                return found
        return self._pull(self.source(name), name, platform, progress)

    def pull(
        self, name: str, platform: str | None = None, policy: str = "always", progress: Progress | None = None
    ) -> StoredImage:
        """Bring an image into the store and return it; what is there already is not fetched again. One from a file gets the
        names that the file has for it.

        Raises InvalidValue, NotAllowed (by policy.json, or blocked), NotFound, RegistryError, Untrusted, StorageError.
        """
        source = self.source(name)
        if source.kind == "rootfs":
            raise Unsupported(f"cannot pull {name}: it is a directory, used as it is", f"crate run {name} COMMAND")
        if policy != "always":
            return self._image(source, name, platform, policy, progress)
        return self._pull(source, name, platform, progress, names=True)

    def _pull(
        self, source: Source, name: str, platform: str | None, progress: Progress | None, names: bool = False
    ) -> StoredImage:
        """`names`: not where a container is made of a file: that must not become what `alpine` means from now on."""
        settings = self._begin(progress)
        from cratebox.image import pull as pulling
        from cratebox.image import reference as references
        from cratebox.image.platform import parse

        wanted = parse(platform) if platform else None
        if progress is not None and source.reference and source.reference != references.parse(name):
            progress.message(f"{name} is an alias of {source.reference.name}")

        pulled = pulling.bring(self.store, source, wanted, settings, progress, names=names)
        self.last_status = pulled.status
        self._tell("pull", name, name)
        return pulled.image

    def source(self, name: str) -> Source:
        """Return where a pull of `name` gets it from: what Docker means by it, but for the aliases of short names.

        Raises InvalidValue for what is no name, and for settings of registries that cannot be read.
        """
        from cratebox.image import transport

        found = transport.parse(name)
        return found.replace(reference=self._aliased(name) or found.reference) if found.reference else found

    def refetch(self, name: str, entry: Descriptor, damaged: Collection[str]) -> None:
        """Fetch blobs `damaged` (digests), and what is missing, of the image of an entry in the store's index;
        `name` is of a registry.

        Raises NotAllowed, NotFound, RegistryError, Untrusted, StorageError.
        """
        settings = self._begin(None)
        from cratebox.image import pull as pulling
        from cratebox.image import reference as references

        pulling.refetch(
            self.store, references.with_digest(references.parse(name), entry.digest), entry.platform, settings, damaged
        )

    def _begin(self, progress: Progress | None) -> Settings:
        """Make ready for work that takes a while, with libraries; return the settings on where images may come from."""
        self.tell_notice(progress)
        private_directory(self.paths.root)
        from cratebox.engine.pushing import speaking

        return speaking(self.paths, self.access)

    def get(self, name: str) -> StoredImage:
        """Return the image of that name, digest, ID or beginning of one. Raises NotFound, Conflict, StorageError, and
        InvalidValue for settings of registries that cannot be read.
        """
        try:
            return self.store.find(self.known_as(name))
        except NotFound as error:
            raise self._unknown(name, error) from None

    def _unknown(self, name: str, error: NotFound, *, here: bool = False) -> NotFound:
        """Return the error with names that are like it; `here`: a pull of it is of no use."""
        from cratebox.engine import image_names

        return image_names.unknown(self.store, name, error, here=here)

    def known_as(self, name: str) -> str:
        """Return the name that the store knows: `name` as Docker means it, or where there is no such image,
        that of its alias.
        """
        try:
            self.store.find(name)
        except NotFound:
            full = self._aliased(name)
            return str(full) if full else name
        except (Conflict, StorageError):
            pass  # whoever asks for it is told
        return name

    def _aliased(self, name: str) -> Reference | None:
        from cratebox.image.settings import full_name

        return full_name(name, self.paths.config)

    def layer_directories(self, container: Container) -> tuple[str, ...]:
        """Return the directories a container's root is made of, lowest first. Raises StorageError, NotFound."""
        if container.rootfs:
            return (_directory(container.rootfs).rootfs,)
        if container.image_id not in self._directories:
            self._directories[container.image_id] = self.store.layer_directories(self.store.find(container.image_id))
        return self._directories[container.image_id]

    def _tell(self, action: str, identity: str, name: str) -> None:
        from cratebox.engine import events

        events.emit(self.paths, "image", action, identity, {"name": name})


def _is_id(name: str) -> bool:
    digits = name.removeprefix("sha256:")
    return len(digits) == 64 and set(digits) <= set("0123456789abcdef")


def check_platform(image: StoredImage, platform: str | None, name: str) -> None:
    """Raise InvalidValue where an image is not for the platform that was asked for."""
    if not platform:
        return
    from cratebox.image.platform import parse, suits

    if not suits(image.config.platform, parse(platform)):
        raise InvalidValue(
            f"image {name} in the store is for {image.config.platform}, not for {platform}",
            f"crate pull --platform {platform} {name}",
        )


def _directory(path: str) -> Provided:
    absolute = os.path.abspath(path)
    if not os.path.isdir(absolute):
        raise NotFound(f"image rootfs:{path}: there is no such directory")
    return Provided("", ImageDefaults(), (), absolute)


def _healthcheck(config: ImageConfig) -> HealthCheck | None:
    if not config.healthcheck:
        return None
    from cratebox.engine import healthcheck

    return healthcheck.of_image(config.healthcheck, config.shell)
