"""The files of artifacts: from a directory to a registry, and back."""

from __future__ import annotations

import hashlib
import os
import stat

from cratebox.errors import Conflict, InvalidValue, NotFound, StorageError
from cratebox.image import artifact as artifacts
from cratebox.image import digest as digests
from cratebox.image import referrers
from cratebox.image.artifact import FILE_TYPE, TITLE, Artifact
from cratebox.image.blobs import storage_failure, write_all
from cratebox.image.manifest import OCI_MANIFEST, Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cratebox.image.mirrors import Mirrored
    from cratebox.image.progress import Progress
    from cratebox.image.registry import Registry

_CHUNK = 1 << 20


def described(path: str, media_type: str) -> Descriptor:
    """Return what a file is in a manifest. Raises NotFound, StorageError, and InvalidValue for what is no file."""
    hashed, size = hashlib.sha256(), 0
    with _Open(path) as fd:
        while chunk := os.pread(fd, _CHUNK, size):
            hashed.update(chunk)
            size += len(chunk)
    return Descriptor(media_type or FILE_TYPE, f"sha256:{hashed.hexdigest()}", size, {TITLE: os.path.basename(path)})


class _Open:
    """A file that is read; a FIFO in its place is not waited for."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> int:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise NotFound(f"file {self._path}: there is none") from None
        except OSError as error:
            raise StorageError(f"cannot read {self._path}: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.close(self._fd)
            raise InvalidValue(f"{self._path} is not a file")
        return self._fd

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)


def send(
    registry: Registry, paths: Sequence[tuple[str, str]], kind: str, annotations: dict[str, str], subject: Descriptor | None,
    progress: Progress,
) -> Artifact:  # fmt: skip
    """Push files (path, media type or empty) as one artifact of the type `kind`,
    by the tag or the digest of the registry's reference.

    `subject`: the manifest in the same repository that it speaks of.
    Raises InvalidValue, NotFound, RegistryError, StorageError.
    """
    from cratebox.image.upload import Uploads, reader

    files = tuple(described(path, media_type) for path, media_type in paths)
    raw = artifacts.compose(kind, files, annotations, subject)
    made = artifacts.parse(raw, OCI_MANIFEST)
    artifacts.named_files(made)  # what could not be pulled is not pushed
    uploads = Uploads(registry)
    for (path, _), file in zip(paths, files, strict=True):
        progress.layer(file.digest, file.size)
        with _Open(path) as fd:
            progress.done(file.digest, uploads.blob(file, reader(fd)))
    uploads.blob(artifacts.empty(), lambda position, count: artifacts.EMPTY[position : position + count])
    noted = uploads.manifest(raw, OCI_MANIFEST, registry.reference.tag or made.digest)
    if subject is not None and noted is None:
        referrers.add(registry, made)
    return made


def fetch(registry: Mirrored, directory: str, progress: Progress, *, force: bool, dotfiles: bool) -> tuple[str, ...]:
    """Write the files of the artifact into `directory`, all or none; return their paths.
    `force`: in place of those that are there.

    Without `dotfiles` an artifact with one is refused: in a home, a shell would obey it. Raises InvalidValue, Conflict,
    NotFound, RegistryError, StorageError, Untrusted (a name that leads elsewhere, wrong bytes).
    """
    found = registry.resolve()
    files = artifacts.named_files(artifacts.parse(found.raw, found.descriptor.media_type))
    if not files:
        raise NotFound(f"{registry.reference.familiar} has no file with a name", "crate artifact inspect shows what it has")
    hidden = next((name for name in files if name.startswith(".")), None)
    if hidden is not None and not dotfiles:
        raise InvalidValue(
            f"{registry.reference.familiar} has the file {hidden}, and what begins with a dot may be obeyed by a program",
            "--dotfiles writes it as well",
        )
    try:
        os.makedirs(directory, exist_ok=True)
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise storage_failure(f"cannot write {directory}", error) from None
    half: dict[str, str] = {}
    try:
        for name in files:
            _check_free(place, name, f"{directory}/{name}", force)
        for name, file in files.items():
            progress.layer(file.digest, file.size)
            half[name] = f".{os.urandom(8).hex()}.partial"
            _write(place, half[name], file, registry.blob(file), progress)
            progress.done(file.digest, "done")
        for name in files:
            os.rename(half.pop(name), name, src_dir_fd=place, dst_dir_fd=place)
    except OSError as error:
        raise storage_failure(f"cannot write into {directory}", error) from None
    finally:
        for name in half.values():
            _unlink(place, name)
        os.close(place)
    return tuple(os.path.join(directory, name) for name in files)


def _check_free(place: int, name: str, path: str, force: bool) -> None:
    try:
        mode = os.stat(name, dir_fd=place, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise Conflict(f"{path} is a directory", "--output names another place")
    if not force:
        raise Conflict(f"{path} is there already", "--force replaces it")


def _unlink(place: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=place)
    except FileNotFoundError:
        pass


def _write(place: int, name: str, file: Descriptor, chunks: Iterator[bytes], progress: Progress) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644, dir_fd=place)
    hashed, size = digests.hasher(file.digest), 0
    try:
        for chunk in chunks:
            write_all(fd, chunk, size)
            hashed.update(chunk)
            size += len(chunk)
            progress.advance(file.digest, len(chunk))
    finally:
        os.close(fd)
    digests.check_hash(hashed, file.digest, "the file")
