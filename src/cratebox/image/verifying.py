"""Whether a store is what it says it is: each blob its digest, each unpacked layer its blob, each name an image.
And mending it.

An unpacked layer is compared with its blob by unpacking that once more, beside, and looking at both trees: what is unpacked is
not only in the archive, but made by the rules of whiteouts and owners, and there is one place that knows them (extract.py).

`quick` leaves out what takes reading every byte: blobs of layers are there with their size,
layers have their record and a root.
"""

from __future__ import annotations

import os
import stat
from functools import partial

from cratebox import jsontext
from cratebox.errors import Conflict, CrateError, NotFound, StorageError, Untrusted
from cratebox.image import across, blobs, index, lists, locks, tree_comparing
from cratebox.image import digest as digests
from cratebox.image import manifest as manifests
from cratebox.image.manifest import Descriptor, ImageConfig, Index, Manifest
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from cratebox.image.store import Store

    Fetch = Callable[[str, Descriptor, Collection[str]], None]

_CHUNK = 1 << 20
_KINDS = ("locks", "layers", "blobs", "blobs/sha256", "blobs/sha512", "blobs/.partial")
_MANY = 100_000  # blobs looked at for manifests


class Damage(Record):
    """Something that is not as it should be: one line on what is wrong, and one on what helps. `mend` repairs it and says how;
    None where that cannot be done.
    """

    subject: str
    problem: str
    remedy: str
    mend: Callable[[], str] | None = None


class _Image(Record):
    """An image in the index: an entry of it, its names, and the entries of those that are of a registry."""

    entry: Descriptor
    names: tuple[str, ...]
    sources: tuple[Descriptor, ...]


class Verifier:
    """Looks through `store`. `used` are the IDs of images that containers are made of, `busy` the diff IDs of layers that
    containers which run have mounted. `fetch` gets an image from a registry again: it is called with its name and its entry
    there, and with the digests of blobs that are damaged.
    """

    def __init__(self, store: Store, used: set[str], busy: Collection[str], fetch: Fetch, *, quick: bool) -> None:
        self._store, self._used, self._busy, self._fetch, self._quick = store, used, busy, fetch, quick
        self._directory = store.directory
        self._seen: dict[str, str] = {}  # what is wrong with each layer's blob, "" for nothing
        self._trees: dict[str, str] = {}
        self._untold: dict[str, str] = {}  # why a layer could not be compared

    def damages(self) -> Iterator[Damage]:
        """Yield all that is damaged, what others stand on first.
        Raises StorageError where the store cannot be looked at at all.
        """
        if not os.path.lexists(self._directory):
            return
        broken = list(self._directories())
        yield from broken
        if broken:
            return
        yield from self._layout()
        try:
            entries = index.read(self._directory)
        except StorageError as error:
            yield Damage("the store", error.message, "crate system check --repair", self._restore_index)
            return
        if not entries and index.read_copy(self._directory):
            yield Damage(
                "the store", f"{self._directory}/index.json is gone", "crate system check --repair", self._restore_index
            )
            return
        for digest in dict.fromkeys(entry.digest for entry in entries):
            for damage in self._image([entry for entry in entries if entry.digest == digest]):
                if digest not in {entry.digest for entry in index.read(self._directory)}:
                    break  # the image was removed while it was looked at
                yield damage

    # The frame

    def _directories(self) -> Iterator[Damage]:
        for name in ("", *(f"/{kind}" for kind in _KINDS)):
            path = self._directory + name
            try:
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    continue
                problem = f"{path} is not a directory"
            except (FileNotFoundError, NotADirectoryError):
                problem = f"{path} is gone"
            yield Damage("the store", problem, "crate system check --repair", partial(self._make_directory, path))
        try:
            names = os.listdir(self._directory + "/locks")
        except OSError:
            return
        for name in names:
            path = f"{self._directory}/locks/{name}"
            if not _is_regular(path):
                yield Damage("the store", f"{path} is not a file", "crate system check --repair", partial(_unlink, path))

    def _make_directory(self, path: str) -> str:
        if os.path.lexists(path) and not stat.S_ISDIR(os.lstat(path).st_mode):
            _unlink(path)
        os.makedirs(path, 0o700, exist_ok=True)
        self._store.prepare()
        return f"made {path} anew"

    def _layout(self) -> Iterator[Damage]:
        path = self._directory + "/oci-layout"
        try:
            if _is_regular(path) and jsontext.loads(blobs.read_small(path, 4096)).get("imageLayoutVersion") == "1.0.0":
                return
        except (OSError, jsontext.JSONError, AttributeError):
            pass

        def mend() -> str:
            if os.path.lexists(path):
                _unlink(path)
            self._store.prepare()
            return f"wrote {path} anew"

        yield Damage("the store", f"damaged: {path}", "crate system check --repair", mend)

    # The index

    def _restore_index(self) -> str:
        """Take the copy of the index; where that is damaged as well, make one of all images that are found,
        whose names are lost.
        """
        path = self._directory + "/index.json"
        with locks.hold(self._directory + "/locks", "index"):
            entries = index.read_copy(self._directory)
            how = f"restored {path} from its copy"
            if not entries:
                entries = list(self._found_manifests())
                how = f"made {path} anew with the {len(entries)} images that were found; their names are lost"
            if os.path.lexists(path):
                os.rename(path, path + ".damaged")
            index.write(self._directory, entries)
        return how

    def _found_manifests(self) -> Iterator[Descriptor]:
        """A manifest is told by what it is: small, a document of that kind, and its config and layers are there."""
        for name in sorted(os.listdir(self._directory + "/blobs/sha256"))[:_MANY]:
            digest = f"sha256:{name}"
            try:
                if os.lstat(self._store.blob_path(digest)).st_size > manifests.MAX_DOCUMENT:
                    continue
                raw = self._store.read_blob(digest, manifests.MAX_DOCUMENT)
                manifest, config = self._parsed(raw)
            except (CrateError, OSError):
                continue
            size = sum(self._store.layer_size(diff_id) for diff_id in config.diff_ids)
            annotations = {index.UNPACKED_SIZE: str(size)}
            yield Descriptor(manifest.media_type, digest, len(raw), annotations, config.platform)

    def _identity_of(self, raw: bytes) -> str:
        """Return the ID of the image of a manifest. Raises Untrusted."""
        manifest = manifests.parse(raw, None)
        return manifest.config.digest if isinstance(manifest, Manifest) else ""

    def _parsed(self, raw: bytes) -> tuple[Manifest, ImageConfig]:
        """Raises Untrusted, StorageError, NotFound."""
        manifest = manifests.parse(raw, None)
        if not isinstance(manifest, Manifest):
            raise Untrusted("it is an index")
        config = manifests.parse_config(self._store.read_blob(manifest.config.digest, manifests.MAX_DOCUMENT))
        if len(config.diff_ids) != len(manifest.layers):
            raise Untrusted("its config belongs to another one")
        return manifest, config

    # An image

    def _image(self, entries: list[Descriptor]) -> Iterator[Damage]:
        entry = entries[0]
        if entry.media_type not in manifests.MANIFEST_TYPES:
            yield from self._list(entry)
            return
        names = [name for name in map(index.name_of, entries) if name]
        image = _Image(entry, tuple(names), tuple(one for one in entries if _is_fetchable(one)))
        subject = f"image {names[0] if names else entry.digest}"
        identity = ""
        try:
            raw = self._store.read_blob(entry.digest, manifests.MAX_DOCUMENT)
            identity = self._identity_of(raw)
            manifest, config = self._parsed(raw)
        except (CrateError, OSError) as error:
            bad = [digest for digest in (entry.digest, identity) if digest and not self._is_sound(digest)]
            yield self._lost(subject, str(error), image, identity, bad)
            return
        lost, bad = [], []
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            blob = self._blob(layer)
            tree = self._tree(layer, diff_id, blob)
            if diff_id in self._untold:
                yield Damage(subject, self._untold[diff_id], "make room on that disk, or crate system check --quick")
            if blob:
                lost.append(blob)
                bad.append(layer.digest)
            elif tree:
                yield self._bad_tree(subject, layer, diff_id, tree)
        if lost:
            yield self._lost(subject, "; ".join(dict.fromkeys(lost)), image, identity, bad)

    def _list(self, entry: Descriptor) -> Iterator[Damage]:
        """A list of manifests that was made here: all that it refers to is there.
        Another tool's index may lack what it likes.
        """
        name = entry.annotations.get(lists.LIST_NAME)
        if name is None:
            return
        wrong = [problem for problem in map(self._blob, self._of_list(entry)) if problem]
        if wrong:
            remedy = f"crate manifest rm {name} and crate image prune -f, then make it again"
            yield Damage(f"list of manifests {name}", "; ".join(dict.fromkeys(wrong)), remedy)

    def _of_list(self, entry: Descriptor) -> Iterator[Descriptor]:
        """Yield the descriptors of all blobs of a list, as far as they can be read."""
        yield entry
        try:
            document = manifests.parse(self._store.read_blob(entry.digest, manifests.MAX_DOCUMENT), entry.media_type)
        except (CrateError, OSError):
            return
        for child in document.manifests if isinstance(document, Index) else ():
            yield child
            try:
                manifest = manifests.parse(self._store.read_blob(child.digest, manifests.MAX_DOCUMENT), child.media_type)
            except (CrateError, OSError):
                continue
            if isinstance(manifest, Manifest):
                yield from (manifest.config, *manifest.layers)

    def _lost(self, subject: str, problem: str, image: _Image, identity: str, bad: Collection[str]) -> Damage:
        """What is gone can only come from where it came from. What does not is removed,
        save where a container may be made of it.
        """
        pull = (
            f"crate pull {image.names[0]} fetches what is missing" if image.names else "pull it again, or remove it: crate rmi"
        )
        kept = self._may_be_used(identity)

        def mend() -> str:
            source = self._fetched(image, bad)
            if source:
                return f"fetched {subject} again from {source}"
            if kept:
                raise NotFound(problem)
            self._store.forget(image.entry.digest)
            return f"removed {subject}; " + (f"crate pull {image.names[0]} brings it back" if image.names else "it had no name")

        return Damage(subject, problem, pull, None if kept and not image.sources else mend)

    def _fetched(self, image: _Image, bad: Collection[str]) -> str:
        """Fetch an image again from one of the registries that it is from; return which one, "" where that failed."""
        for entry in image.sources:
            try:
                self._fetch(index.name_of(entry), entry, bad)
            except CrateError:
                continue
            return index.name_of(entry)
        return ""

    def _is_sound(self, digest: str) -> bool:
        try:
            self._store.read_blob(digest, manifests.MAX_DOCUMENT)
        except (CrateError, OSError):
            return False
        return True

    def _may_be_used(self, identity: str) -> bool:
        """Whose manifest is damaged has no ID any more: it may be the image of every container whose own is not found."""
        return identity in self._used if identity else bool(self._used - self._known())

    def _known(self) -> set[str]:
        return {image.id for image in self._store.survey()[0]}

    def _blob(self, layer: Descriptor) -> str:
        """Return what is wrong with a layer's blob, or ""."""
        if layer.digest not in self._seen:
            self._seen[layer.digest] = self._examined(layer)
        return self._seen[layer.digest]

    def _examined(self, layer: Descriptor) -> str:
        path = self._store.blob_path(layer.digest)
        try:
            info = os.lstat(path)
            if not stat.S_ISREG(info.st_mode):
                return f"damaged: {path} is not a file"
            if info.st_size != layer.size:
                return f"damaged: {path} has {info.st_size} bytes, not {layer.size}"
            if not self._quick and self._digest(layer) != layer.digest.partition(":")[2]:
                return f"damaged: {path} is not what its name says"
        except FileNotFoundError:
            return f"{path} is gone"
        except OSError as error:
            return f"cannot read {path}: {error.strerror}"
        return ""

    def _digest(self, layer: Descriptor) -> str:
        state = digests.hasher(layer.digest)
        fd = self._store.open_blob(layer.digest)
        try:
            while chunk := os.read(fd, _CHUNK):
                state.update(chunk)
        finally:
            os.close(fd)
        return str(state.hexdigest())

    # An unpacked layer

    def _tree(self, layer: Descriptor, diff_id: str, blob: str) -> str:
        """Return what is wrong with an unpacked layer, or ""."""
        if diff_id not in self._trees:
            try:
                self._trees[diff_id] = self._compared(layer, diff_id, whole_blob=not blob)
            except Conflict as error:
                self._trees[diff_id], self._untold[diff_id] = "", error.message
            except CrateError as error:
                self._trees[diff_id] = error.message
            except OSError as error:
                self._trees[diff_id] = f"cannot read layer {diff_id}: {error.strerror}"
        return self._trees[diff_id]

    def _compared(self, layer: Descriptor, diff_id: str, *, whole_blob: bool) -> str:
        where = self._store.layer_path(diff_id)
        if not stat.S_ISDIR(mode_of(where)) or not stat.S_ISDIR(mode_of(where + "/fs")):
            return f"{where}/fs is gone"
        if not _is_regular(where + "/layer.json"):
            return f"damaged: {where}/layer.json"
        try:
            self._store.layer_record(diff_id)
        except NotFound:
            return f"damaged: {where}/layer.json"
        if self._quick or not whole_blob:
            return ""
        found = across.call(
            self._store.run_inside, lambda: self._store.compare(layer, diff_id, tree_comparing.first_difference).encode()
        )
        return f"{where}/fs{found.decode()}" if found else ""

    def _bad_tree(self, subject: str, layer: Descriptor, diff_id: str, problem: str) -> Damage:
        if diff_id in self._busy:
            return Damage(subject, problem, "stop the containers that use it, then crate system check --repair")

        def unpack_again() -> str:
            self._store.replace_layer(layer, diff_id)
            return f"unpacked layer {diff_id} again"

        return Damage(subject, problem, "crate system check --repair", unpack_again)


def _is_fetchable(entry: Descriptor) -> bool:
    return bool(index.name_of(entry)) and index.SOURCE_DIGEST in entry.annotations


def mode_of(path: str) -> int:
    """Return kind and permissions of what is at `path` itself, 0 where it cannot be asked for."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def _is_regular(path: str) -> bool:
    return stat.S_ISREG(mode_of(path))


def _unlink(path: str) -> str:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rmdir(path)
    else:
        os.unlink(path)
    return f"deleted {path}"
