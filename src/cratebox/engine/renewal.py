"""The next run of a container that its supervisor starts again: made ready as a start is, for the container may have been changed."""

from __future__ import annotations

from cratebox.engine import records, streams
from cratebox.engine.images import Images
from cratebox.engine.launch import watch_of
from cratebox.engine.preparation import Start, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.dialogue import Watch


def renewed(watch: Watch) -> Watch:
    """Return what the supervisor of a container is told for the next run of it, as if it were started anew.

    Raises what a start raises; the container's lock is still held.
    """
    which = watch.container
    container = records.load(which.paths, which.id)
    images = Images(which.paths, which.owner)
    start = Start(which.paths, which.owner, images, container, watch.lock, before=watch.network)
    prepared = prepare(
        start.replace(layers=images.layer_directories(container)), streams.same(watch.stdin, watch.output, watch.holds)
    )
    return watch_of(start, prepared)
