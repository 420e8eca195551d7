"""The next run of a container that its supervisor starts again: made ready as a start is,
for the container may have been changed.
"""

from __future__ import annotations

from cratebox import record_file
from cratebox.engine import records, streams
from cratebox.engine.images import Images
from cratebox.engine.launch import watch_of
from cratebox.engine.preparation import Start, prepare
from cratebox.runtime.spec import Spec

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
    command = _command_of_last(watch, container)
    start = Start(which.paths, which.owner, images, container, watch.lock, command=command)
    prepared = prepare(
        start.replace(layers=images.layer_directories(container)), streams.same(watch.stdin, watch.output, watch.holds)
    )
    return watch_of(start, prepared)


def _command_of_last(watch: Watch, container: records.Container) -> tuple[str, ...]:
    """Return what followed the entry point in the last start: CMD, or what `start NAME COMMAND` had put in its place.

    Its spec tells: that lies on the disk, and is the truth for a supervisor that took over as well.
    """
    spec, config = record_file.read(watch.directory + "/config.json", Spec), container.config
    if not spec or not spec.process:
        return ()
    entry = container.defaults.entrypoint if config.entrypoint is None else config.entrypoint
    args = spec.process.args[2 if config.init else 0 :]  # the reaper and its -- come first, see `specgen.build`
    return args[len(entry) :] if args[: len(entry)] == entry else ()
