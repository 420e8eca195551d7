"""The engine: images and containers of one user, below one root. No daemon: what it knows is on the disk."""

from __future__ import annotations

import os

from cratebox.paths import Paths, locate, private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.engine import checking
    from cratebox.engine.artifacts import Artifacts
    from cratebox.engine.containers import Containers
    from cratebox.engine.idmaps import Identity
    from cratebox.engine.images import Images
    from cratebox.engine.manifest_lists import ManifestLists
    from cratebox.engine.networks import Networks
    from cratebox.engine.pruning import Filters, Pruned
    from cratebox.engine.secrets import Secrets
    from cratebox.engine.usage import Usage
    from cratebox.engine.volumes import Volumes
    from cratebox.image.access import Access


class Engine:
    """Where everything begins: `engine.images`, `engine.containers`.

    `paths` says where state lives; without it, where this user's is (see paths.py). `access`: how to speak with the registries
    that are named, where that is not as it is set up (see image/access.py).
    """

    def __init__(self, paths: Paths | None = None, access: Access | None = None) -> None:
        self.paths, self._access = paths or locate(), access
        self._identity: Identity | None = None
        self._images: Images | None = None
        self._containers: Containers | None = None

    @property
    def identity(self) -> Identity:
        """Which IDs this user's containers can have."""
        if self._identity is None:
            from cratebox.engine import idmaps

            self._identity = idmaps.own()
        return self._identity

    @property
    def images(self) -> Images:
        """The images in the store, and the way to get more."""
        if self._images is None:
            self.trust()
            from cratebox.engine.images import Images

            self._images = Images(self.paths, self.identity, self._access)
        return self._images

    @property
    def manifests(self) -> ManifestLists:
        """Lists of manifests: one name for the images of several platforms."""
        from cratebox.engine.manifest_lists import ManifestLists

        return ManifestLists(self.images)

    @property
    def containers(self) -> Containers:
        """The containers, running or not."""
        if self._containers is None:
            self.trust()
            from cratebox.engine.containers import Containers

            self._containers = Containers(self.paths, self.identity, self.images)
        return self._containers

    @property
    def networks(self) -> Networks:
        """What containers reach each other by, and the world."""
        self.trust()
        from cratebox.engine.networks import Networks

        return Networks(self.paths, self.identity)

    @property
    def secrets(self) -> Secrets:
        """What containers may read and nobody else."""
        self.trust()
        from cratebox.engine.secrets import Secrets

        return Secrets(self.paths)

    @property
    def artifacts(self) -> Artifacts:
        """Files in registries that are no images."""
        from cratebox.engine.artifacts import Artifacts

        return Artifacts(self.paths, self._access)

    @property
    def volumes(self) -> Volumes:
        """Directories that outlive containers."""
        self.trust()
        from cratebox.engine.volumes import Volumes

        return Volumes(self.paths, self.identity)

    def trust(self) -> Paths:
        """Return where state lives, once it is known to be ours: what lies in a store of somebody else's would be done with our
        rights, its containers, its processes to signal. Raises StorageError.
        """
        for directory in self._places():
            if os.path.lexists(directory):
                private_directory(directory)
        return self.paths

    def _places(self) -> tuple[str, ...]:
        return self.paths.root, self.paths.state, self.paths.containers, self.paths.running

    def info(self) -> dict[str, Any]:
        """Return what `crate info` shows: the machine, the store and what containers can have here."""
        from cratebox.engine import info

        return info.collect(self)

    def usage(self) -> Usage:
        """Return what `crate system df` shows: the disk's space that everything needs. Raises StorageError."""
        from cratebox.engine import usage

        return usage.measure(self.paths, self.images)

    def prune(self, filters: Filters | None = None, every: bool = False, volumes: bool = False) -> Pruned:
        """Remove what nobody needs: containers that have ended, networks of none, images without a name (or with `every` all
        that no container is made of), what commands that were killed have left; with `volumes` those without a name as well.
        Raises StorageError.
        """
        from cratebox.engine import pruning

        filters = filters or pruning.Filters()
        pruned = pruning.everything(self.paths, self.images, filters, every, volumes)
        pruned = pruned.replace(networks=tuple(self.networks.prune(filters)))
        self.networks.rest()
        return pruned

    def check(self, wish: checking.Wish | None = None) -> checking.Checked:
        """Look for damage in all that is kept, and repair what can be where that is wished.

        Raises StorageError where it is somebody else's; that there is something else in a directory's place is damage.
        """
        from cratebox.engine import checking
        from cratebox.engine.images import Images

        for directory in (*self._places(), self.paths.images):
            if os.path.isdir(directory):
                private_directory(directory)

        return checking.check(self.paths, Images(self.paths, self.identity), wish or checking.Wish())

    def version(self) -> dict[str, Any]:
        """Return what `crate version` shows."""
        from cratebox.engine import info

        return info.version()
