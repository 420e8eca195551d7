"""How a layer comes in: its blob is written, hashed and unpacked in one pass over its bytes."""

from __future__ import annotations

import os

from cratebox.errors import Conflict, StorageError, Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cratebox.image.blob_writer import BlobWriter
    from cratebox.image.blobs import Blobs
    from cratebox.image.manifest import Descriptor
    from cratebox.image.snapshot import Layers


class Intake:
    """Takes layers into `blobs` and `layers`. It runs where the id map of the containers is."""

    def __init__(self, blobs: Blobs, layers: Layers, *, userxattr: bool, owners: str) -> None:
        self._blobs, self._layers = blobs, layers
        self._userxattr, self._owners = userxattr, owners

    def ingest(
        self, descriptor: Descriptor, diff_id: str, open_from: Callable[[int], Iterable[bytes]], *, named_later: bool = False
    ) -> None:
        """Make blob and tree be there. See Store.ingest."""
        with self._blobs.writer(descriptor) as writer:
            if writer.done:
                if not self._is_of(diff_id, descriptor.digest):
                    self.unpack_blob(descriptor, diff_id)
                return
            resumed = writer.offset > 0
            try:
                if writer.offset == descriptor.size and self._is_of(diff_id, descriptor.digest):
                    _finish(writer, named_later)  # somebody has unpacked it, and not yet given it its name
                else:
                    self._download(writer, descriptor, diff_id, open_from, named_later)
            except Untrusted:
                if not resumed or writer.offset < descriptor.size:
                    raise
            else:
                return
        # The part from an earlier attempt was bad: once more, from the start.
        self.ingest(descriptor, diff_id, open_from, named_later=named_later)

    def _download(
        self,
        writer: BlobWriter,
        descriptor: Descriptor,
        diff_id: str,
        open_from: Callable[[int], Iterable[bytes]],
        named_later: bool,
    ) -> None:
        arriving = _Arriving(writer, open_from)
        chunks = iter(arriving)
        with self._layers.pending(diff_id) as pending:
            try:
                pending.unpack(chunks, descriptor.media_type, userxattr=self._userxattr, owners=self._owners)
            except Untrusted:
                if arriving.refused is not None:  # and not the layer: what came of it is kept for a resume
                    raise arriving.refused from None
                # Bytes that were damaged on the way look like a hostile layer. The digest tells which of the two it is.
                for _ in chunks:
                    pass
                writer.verify()
                writer.discard()
                raise
            _finish(writer, named_later)
            pending.publish(descriptor.digest)

    def unpack_blob(self, descriptor: Descriptor, diff_id: str, *, replace: bool = False) -> None:
        """Unpack a layer whose blob is there, with `replace` in place of what there is.
        Raises NotFound, Untrusted, StorageError.
        """
        with open(self._blobs.open(descriptor.digest), "rb", buffering=0) as file, self._layers.pending(diff_id) as pending:
            pending.unpack(file, descriptor.media_type, userxattr=self._userxattr, owners=self._owners)
            if replace and os.path.lexists(self._layers.path(diff_id)):
                self._layers.remove([os.path.basename(self._layers.path(diff_id))])
            pending.publish(descriptor.digest)

    def compare(self, descriptor: Descriptor, diff_id: str, difference: Callable[[int, int], str]) -> str:
        """Return the `difference` of an unpacked layer and its blob, unpacked once more. Raises NotFound, Untrusted,
        StorageError, and Conflict where that cannot be unpacked beside: there is no room.
        """
        path = self._layers.path(diff_id) + "/fs"
        with open(self._blobs.open(descriptor.digest), "rb", buffering=0) as file, self._layers.pending(diff_id) as pending:
            try:
                pending.unpack(file, descriptor.media_type, userxattr=self._userxattr, owners=self._owners)
            except StorageError as error:
                raise Conflict(f"layer {diff_id} was not compared: {error.message}") from None
            try:
                there = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    return difference(there, pending.tree)
                finally:
                    os.close(there)
            except OSError as error:
                raise StorageError(f"cannot read {path}: {error.strerror}") from None

    def _is_of(self, diff_id: str, blob: str) -> bool:
        """Tell whether the layer is there, and known to be what is in the blob: that is not for the image's config to say."""
        try:
            record = self._layers.read(diff_id)
        except StorageError:
            return False  # damaged: it is made again
        return record is not None and blob in (diff_id, record.blob)


def _finish(writer: BlobWriter, named_later: bool) -> None:
    if named_later:
        writer.leave()
    else:
        writer.commit()


class _Arriving:
    """The whole blob: what is there already, then what comes, which is written on its way.
    `refused`: why no more of it came.
    """

    def __init__(self, writer: BlobWriter, open_from: Callable[[int], Iterable[bytes]]) -> None:
        self._writer, self._open_from = writer, open_from
        self.refused: Untrusted | None = None

    def __iter__(self) -> Iterator[bytes]:
        yield from self._writer.resume()
        if self._writer.offset == self._writer.size:
            return
        try:
            for chunk in self._open_from(self._writer.offset):
                self._writer.write(chunk)
                yield chunk
        except Untrusted as error:
            self.refused = error
            raise
