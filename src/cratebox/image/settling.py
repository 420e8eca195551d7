"""What is done after pulls: unpacked layers are put on the disk, and what killed pulls have left is deleted.

A pull is done when its image can run, so this work has a process that nobody waits for. It begins in a moment in which nobody
pulls, which it learns by the lock `pull`. There is one such process at a time, which does the work of all who ask: while it
lives it has the lock `settle`, see locks.py. What fails there is done after the next pull, or by Store.restore.
"""

from __future__ import annotations

from time import sleep

from cratebox.image import across, blobs, locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.across import RunInside
    from cratebox.image.snapshot import Layers

_REST = 1.0  # seconds between a pull and what is done after it: another pull, or the start of a container, comes first


class Settling:
    """Does that for the blobs and layers of one store, with the locks in the directory `locks_directory`."""

    def __init__(self, of_blobs: blobs.Blobs, layers: Layers, locks_directory: str, run_inside: RunInside) -> None:
        self._blobs, self._layers = of_blobs, layers
        self._locks, self._run_inside = locks_directory, run_inside

    def sweep(self) -> None:
        """See Store.sweep."""
        dead = self._layers.dead()
        if dead:
            across.run(self._run_inside, lambda: self._layers.remove(dead))
        try:
            self._blobs.sweep_partial()
            locks.sweep(self._locks)
        except OSError as error:
            raise blobs.storage_failure(f"cannot sweep {self._blobs.directory}", error) from None

    def later(self) -> None:
        """See Store.settle_later."""
        if not (self._layers.young() or self._layers.dead()):
            return
        held = locks.try_hold(self._locks, "settle")
        if held is None:
            return
        from cratebox.image import detached

        with held:
            try:
                detached.run(lambda: self._in_turn(held), held.fileno())
            except OSError:
                pass  # no more processes: nothing is lost but a layer's second unpacking after a crash

    def _in_turn(self, held: locks.Lock | None) -> None:
        while held is not None:
            sleep(_REST)
            locks.hold(self._locks, "pull").release()
            self._layers.settle()
            self.sweep()
            held.unlock()  # those who have started this process may have it still
            # Who asked while the lock was held was sent away, and is served now.
            held = locks.try_hold(self._locks, "settle") if self._layers.young() else None
