"""The images of one user, and what is done with them: each verb by the module that is named for it."""

from __future__ import annotations

import os

from cratebox.engine.provision import Provisions, check_platform
from cratebox.errors import Conflict, NotFound, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from cratebox.engine import image_history, image_tree
    from cratebox.engine.changes import Change
    from cratebox.engine.importing import Wish as ImportWish
    from cratebox.engine.pruning import Filters, Pruned
    from cratebox.image.archive import Loaded
    from cratebox.image.collector import Removed
    from cratebox.image.login import Saved
    from cratebox.image.progress import Progress
    from cratebox.image.push import Pushed
    from cratebox.image.reference import Reference
    from cratebox.image.search import Found
    from cratebox.image.store import StoredImage


class Images(Provisions):
    """`engine.images`."""

    def load(self, archive: int | str, platform: str | None = None, progress: Progress | None = None) -> Sequence[Loaded]:
        """Take all images of an archive or a layout into the store, under the names that they have there; all or none.

        `archive` is a path, or a descriptor to read it from. Raises NotAllowed, NotFound, Untrusted, Unsupported, StorageError.
        """
        settings = self._begin(progress)
        from cratebox.image import archive as archives
        from cratebox.image.platform import parse
        from cratebox.image.transport import Source

        stream = archive if isinstance(archive, int) else None
        source = Source("archive", "standard input" if isinstance(archive, int) else os.path.abspath(archive))
        wanted = parse(platform) if platform else None
        loaded = archives.load_all(self.store, source, wanted, stream=stream, allow=settings.policy.check, progress=progress)
        for one in loaded:
            self._tell("load", one.image.id, one.image.id)
        return loaded

    def save(
        self, names: Sequence[str], to: int | str, form: str = "docker-archive", platform: str | None = None
    ) -> Sequence[StoredImage]:
        """Write images to a descriptor or a path, as a "docker-archive", an "oci-archive" or an "oci-dir". See saving.save."""
        from cratebox.engine import saving

        saved = saving.save(self, names, to, form, platform)
        for one in saved:
            self._tell("save", one.image.id, one.image.id)
        return [one.image for one in saved]

    def import_(self, archive: int, wish: ImportWish, what: str = "standard input") -> StoredImage:
        """Make an image of one layer of the tar archive that the descriptor `archive` gives, plain or compressed.

        `what` is what the archive is called where policy.json does not let it in. Raises NotAllowed, InvalidValue, Untrusted,
        StorageError.
        """
        settings = self._begin(None)
        from cratebox.engine import importing
        from cratebox.image.transport import Source

        settings.policy.check(Source("tarball", what))
        image = importing.import_(self, archive, wish)
        self._tell("import", image.id, image.names[0] if image.names else image.id)
        return image

    def inspect(self, name: str) -> dict[str, Any]:
        """Return an image in Docker's form of `inspect`. Raises as `get`."""
        from cratebox.engine.inspect_image import image_document

        image = self.get(name)
        directories = [self.store.layer_path(diff_id) + "/fs" for diff_id in image.layers]
        return image_document(image, self.store.descriptor_of(image), directories)

    def exists(self, name: str) -> bool:
        """Tell whether there is an image of that name, digest, ID or unique beginning of one. Raises Conflict, StorageError."""
        try:
            self.get(name)
        except NotFound:
            return False
        return True

    def history(self, name: str, platform: str | None = None) -> Sequence[image_history.Step]:
        """Return the steps in which an image was made, the last one first.
        Raises as `get`, InvalidValue for another `platform`'s.
        """
        from cratebox.engine import image_history

        image = self.get(name)
        check_platform(image, platform, name)
        return image_history.steps(image, self.store.layer_size)

    def layers(self, name: str) -> Sequence[image_tree.TreeLayer]:
        """Return an image's layers, lowest first, with the other images that have them. Raises as `get`."""
        from cratebox.engine import image_tree

        return image_tree.layers(self.get(name), self.store.images(), self.store.layer_size)

    def built_upon(self, name: str) -> image_tree.Branch:
        """Return an image with those that have all of its layers and more. Raises as `get`."""
        from cratebox.engine import image_tree

        return image_tree.built_upon(self.get(name), self.store.images())

    def diff(self, name: str, base: str | None = None) -> Sequence[Change]:
        """Return the changes of files from image `base` to image `name`; without `base`, those of its uppermost layer.
        Raises as `get`.
        """
        from cratebox.engine import image_diff

        with self.using():
            return image_diff.changes(self, self.get(name), self.get(base) if base else None)

    def mount(self, name: str) -> str:
        """Mount an image for reading, where it is not mounted yet, and return the directory;
        it is there until as many `unmount`.

        Raises as `get`; Unsupported for an ordinary user, RuntimeFailure where the kernel refuses.
        """
        from cratebox.engine import image_mounts

        with self.using():
            where = image_mounts.begin(self, image := self.get(name))
        self._tell("mount", image.id, name)
        return where

    def unmount(self, name: str, force: bool = False) -> str:
        """Take back one `mount` of an image, or all with `force`; the last one ends it. Return the image's ID.

        Raises as `get`, Conflict where it is not mounted or somebody is in it.
        """
        from cratebox.engine import image_mounts

        image = self.get(name)
        if not image_mounts.end(self.paths, image.id, force):
            raise Conflict(f"image {name} is not mounted", "crate image mount lists those that are")
        self._tell("unmount", image.id, name)
        return image.id

    def mounts(self) -> Sequence[tuple[str, str]]:
        """Return (ID, directory) of each image that is mounted."""
        from cratebox.engine import image_mounts

        return [(one.image, image_mounts.place(self.paths, one.image)) for one in image_mounts.listed(self.paths)]

    def tag(self, source: str, target: str) -> StoredImage:
        """Give the image `source` (a name, a digest, an ID or the beginning of one) the name `target` as well; return it.

        What had that name before keeps none. Raises InvalidValue, NotFound, Conflict, StorageError.
        """
        from cratebox.image import reference as references

        name = references.nameable(target)
        with self.using():
            image = self.get(source)
            self.store.layer_directories(image)  # what a power failure took is made again: a name is given to what is whole
            tagged = self.store.tag(str(name), self.store.manifest_descriptor(image))
        self._tell("tag", tagged.id, name.familiar)
        return tagged

    def push(
        self,
        name: str,
        destination: str | None = None,
        platform: str | None = None,
        progress: Progress | None = None,
        compression: str | None = None,
    ) -> Pushed:
        """Send the image `name` to the registry of its name, or to `destination`; return what stands for that name there now.

        `platform`: insist that the image is for this one. `compression`: "gzip" or "zstd", for all of its layers; without, they
        go as they lie, save for plain ones that are from no registry, which are packed with gzip. Raises InvalidValue,
        NotFound, Conflict, RegistryError, StorageError.
        """
        from cratebox.engine import pushing

        return pushing.push(self, name, destination, platform, progress, compression)

    def login(self, server: str, username: str, password: str) -> Saved:
        """Ask the registry `server` (HOST[:PORT], or a place in it) whether it lets this user in, and keep the credential;
        say where.

        Raises InvalidValue, RegistryError where it is refused (nothing is kept then), StorageError.
        """
        from cratebox.engine import logging_in

        return logging_in.login(self.paths, server, username, password, self.access)

    def logged_in(self, server: str) -> str:
        """Return the user's name of the credential that is kept for `server`; nobody is asked.
        Raises InvalidValue, NotFound.
        """
        from cratebox.engine import logging_in

        return logging_in.kept(server, self.access).username

    def check_login(self, server: str) -> str:
        """Ask `server` whether the credential that is kept for it is still good; return the user's name.

        Raises InvalidValue, NotFound where none is kept, RegistryError where it is refused.
        """
        from cratebox.engine import logging_in

        return logging_in.check(self.paths, server, self.access)

    def logout(self, server: str | None) -> Sequence[str]:
        """Delete the credential of `server` (None: of all) wherever pulls would look for it; return those files.

        Raises InvalidValue, NotFound, StorageError.
        """
        from cratebox.engine import logging_in

        return logging_in.logout(server, self.access)

    def tags(self, repository: str, flag: str = "--all-tags") -> Sequence[str]:
        """Ask the registry of `repository` which tags it has there; `flag` is named where that has a tag itself.

        Raises InvalidValue, NotFound, RegistryError.
        """
        from cratebox.engine import pushing

        return pushing.tags_of(self, repository, flag)

    def names_of(self, repository: str) -> Sequence[Reference]:
        """Return the names, each with its tag, that the store has in a repository.
        Raises InvalidValue, and NotFound for none.
        """
        from cratebox.engine import pushing

        return pushing.names_of(self, repository)

    def search(
        self, term: str, limit: int = 25, filters: Sequence[str] = (), say: Callable[[str], None] = lambda _text: None
    ) -> Sequence[Found]:
        """Return the repositories that Docker Hub has for a term, or for REGISTRY/TERM that registry: at most `limit`, and of
        these those that `filters` let through ("stars=3", "is-official=true"). Raises InvalidValue, NotAllowed, RegistryError.
        """
        from cratebox.engine import image_search

        return image_search.search(self.paths, term, limit, filters, say, self.access)

    def remove(self, name: str, force: bool = False, prune: bool = True) -> Sequence[str]:
        """Take the name from an image, and delete it with its last one; return Docker's lines. Without `prune` its layers stay
        until one.

        Raises NotFound, Conflict where a container is made of it (and `force` is not given) or an ID has several names.
        """
        used, name = self._used(), self.known_as(name)
        try:
            image = self.store.find(name)
        except NotFound as error:
            raise self._unknown(name, error, here=True) from None
        except StorageError:
            image = None  # it is damaged, and can be removed all the same
        if image and image.id in used and len(image.names) < 2 and not force:
            user = used[image.id][:12]
            if not user:
                raise Conflict(f"image {name} is mounted", f"crate image unmount {name} first")
            raise Conflict(f"image {name} is used by container {user}", f"crate rm {user} first")
        kept = self._layers_of(image) if image and not prune else ()
        removed = self.store.remove(name, force=force, in_use=lambda: set(self._used()), kept=kept)
        for text in removed.untagged:
            self._tell("untag", image.id if image else text, text)
        if image and removed.deleted:
            self._tell("delete", image.id, name)
        return self._told(removed, image)

    def _layers_of(self, image: StoredImage) -> tuple[str, ...]:
        return (*image.layers, *(layer.digest for layer in self.store.manifest_of(image).layers))

    def _told(self, removed: Removed, image: StoredImage | None) -> list[str]:
        """Return Docker's lines: of an image that is not damaged its ID and its layers, from above;
        what others have is there still.
        """
        from cratebox.image import reference as references

        deleted = removed.deleted
        if image and deleted:
            identity = () if self.store.has_blob(image.id) else (image.id,)
            layers = (diff_id for diff_id in reversed(image.layers) if not self.store.has_layer(diff_id))
            deleted = tuple(dict.fromkeys((*identity, *layers)))
        return [
            *(f"Untagged: {references.familiar(name)}" for name in removed.untagged),
            *(f"Deleted: {digest}" for digest in deleted),
        ]

    def prune(self, filters: Filters | None = None, every: bool = False) -> Pruned:
        """Remove the images without a name, or with `every` all that no container is made of. Raises StorageError."""
        from cratebox.engine import pruning

        return pruning.images(self.paths, self, filters or pruning.Filters(), every)

    def used(self) -> set[str]:
        """Return the IDs of the images and the diff IDs of the layers that containers are made of, or that are mounted."""
        return set(self._used())

    def _used(self) -> dict[str, str]:
        """Return the container, by ID, that is made of each image and each layer in use; "" for one that is mounted alone."""
        from cratebox.engine import image_mounts, records

        used: dict[str, str] = {}
        for mounted in image_mounts.used(self.paths):
            used |= dict.fromkeys((mounted.image, *mounted.layers), "")
        for identity in records.identities(self.paths):
            try:
                container = records.load(self.paths, identity)
            except (NotFound, StorageError):
                continue
            if container.image_id:
                used |= dict.fromkeys((container.image_id, *container.layers), identity)
            for one in container.config.mounts:
                if one.image:
                    used |= dict.fromkeys((one.image, *one.layers), identity)
        return used

    def list(self, filters: Sequence[str] = ()) -> Sequence[StoredImage]:
        """Return the images in the store that are whole; those alone that `filters` let through, words as of `images --filter`:
        "dangling=true", "label=KEY=VALUE", "reference=alpine*", "before=NAME", "since=NAME", "until=24h".

        Raises StorageError where its index is damaged, InvalidValue for a filter, NotFound for an image of before and since.
        """
        if not filters:
            return self.store.images()
        from cratebox.engine import image_selection
        from cratebox.engine.filters import parse

        asked = parse(filters, image_selection.KEYS)
        return image_selection.select(self.store.images(), asked, self.get)

    def damaged(self) -> Sequence[tuple[str, StorageError]]:
        """Return (a name or a digest, what is wrong) of each image that is not whole. Raises as `list`."""
        return self.store.survey()[1]
