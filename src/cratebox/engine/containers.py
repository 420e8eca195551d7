"""The containers of one user: create, start, run, stop, kill, remove, look at."""

from __future__ import annotations

import os

from cratebox.engine import events, records
from cratebox.engine.config import ContainerConfig, is_on_networks
from cratebox.engine.idmaps import Identity
from cratebox.engine.records import Container, ContainerStatus
from cratebox.errors import Conflict, NotFound, StorageError, Unsupported
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from cratebox.engine import committing
    from cratebox.engine.changes import Change
    from cratebox.engine.container_root import Whose
    from cratebox.engine.execution import Wanted
    from cratebox.engine.images import Images
    from cratebox.engine.log_reading import Entry
    from cratebox.engine.processes import Running
    from cratebox.engine.pruning import Filters, Pruned
    from cratebox.engine.sizes import ContainerSize
    from cratebox.engine.stats import Usage
    from cratebox.image.progress import Progress
    from cratebox.image.store import StoredImage
    from cratebox.network.model import Port, Reservation

SIGKILL = 9


class Containers:
    """`engine.containers`. Every `reference` is a name, a full ID or a unique beginning of one."""

    def __init__(self, paths: Paths, identity: Identity, images: Images) -> None:
        self.paths, self.identity, self.images = paths, identity, images

    # Making and running

    def create(
        self,
        config: ContainerConfig,
        pull: str = "missing",
        progress: Progress | None = None,
        cidfile: str | None = None,
        replace: bool = False,
    ) -> Container:
        """Make a container, not running, and return it; its ID goes into the new file `cidfile`. `replace`: one that has its
        name is removed first.

        `pull` is "always", "missing" or "never". Raises NotFound, Conflict (the name), InvalidValue, StorageError and what
        a pull raises; nothing is left then.
        """
        from cratebox.engine import making

        container, lock = making.make(self.paths, self.images, config, pull, progress, cidfile, replace)
        os.close(lock)
        return container

    def run(
        self,
        config: ContainerConfig,
        detach: bool = False,
        pull: str = "missing",
        progress: Progress | None = None,
        sig_proxy: bool = True,
        detach_keys: bytes | None = None,
        cidfile: str | None = None,
        replace: bool = False,
    ) -> int | str:
        """Create and start a container. Attached: stay, and return its exit code (0 where the user detached); with
        `detach`: return its ID once its program runs.

        Raises what `create` and `start` raise. A container that could not be started stays, save with `remove`.
        """
        from cratebox.engine import making

        container, lock = making.make(self.paths, self.images, config, pull, progress, cidfile, replace)
        if progress is not None:
            progress.close()
        code = self._start(
            container,
            lock,
            attach=not detach,
            interactive=config.interactive,
            forward_signals=sig_proxy,
            detach_keys=detach_keys,
            progress=progress,
        )
        return container.id if detach else code or 0

    def start(
        self,
        reference: str,
        command: tuple[str, ...] = (),
        attach: bool = False,
        interactive: bool = False,
        detach_keys: bytes | None = None,
    ) -> int | None:
        """Start a container; with `command` in place of CMD for this start, and the restarts that follow from it.

        Attached: stay and return its exit code, None where the user detached; also where it runs already, which otherwise is
        nothing to do. Raises NotFound, Conflict where it runs and has a `command`, is paused or waits for its next run,
        CommandNotFound, CannotInvoke and other RuntimeFailures.
        """
        from cratebox.engine import starting

        container = self.get(reference)
        lock = starting.lock_of(self.paths, container, again=not command)
        if lock is None:
            return self.attach(container.id, interactive, detach_keys=detach_keys) if attach else None
        interactive = interactive and container.config.interactive
        return self._start(container, lock, command=command, attach=attach, interactive=interactive, detach_keys=detach_keys)

    def are_named(self, words: Sequence[str]) -> bool:
        """Tell whether these words, which follow a container that is to be started, are containers too, and not a command.

        The first of them decides: a name, an ID, or 12 digits of one.
        """
        from cratebox.engine import starting

        return bool(words) and starting.names_container(self.paths, words[0])

    def attach(
        self, reference: str, stdin: bool = True, sig_proxy: bool = True, detach_keys: bytes | None = None
    ) -> int | None:
        """Stay with a running container; return its exit code, None where the user detached.

        `stdin`: pass standard input on, where the container has one. Raises NotFound, Conflict where it does not run.
        """
        from cratebox.engine import attaching

        return attaching.attach_to(self.paths, self.get(reference), stdin, sig_proxy, detach_keys)

    def _start(self, container: Container, lock: int, **how: Any) -> int | None:
        from cratebox.engine.launch import start
        from cratebox.engine.preparation import Start

        return start(Start(self.paths, self.identity, self.images, container, lock, **how))

    def exec(self, reference: str, wanted: Wanted) -> int:
        """Run another process in a container that runs; return its exit code, 0 where it was left to itself (`detach`, the
        keys).

        Raises NotFound, Conflict where the container does not run or is paused, InvalidValue, CommandNotFound, CannotInvoke and
        other RuntimeFailures.
        """
        from cratebox.engine.execution import execute

        return execute(self.paths, reference, wanted)

    def rename(self, reference: str, name: str) -> Container:
        """Give a container, running or not, another name. Raises InvalidValue, Conflict where another has it, and as `get`."""
        from cratebox.engine import renaming

        return renaming.rename(self.paths, self.get(reference), name)

    # Copying: paths of the host are absolute; see copying.py and copy_places.py for what goes where

    def copy_from(self, reference: str, path: str, to: str, archive: bool = False, follow: bool = False) -> int:
        """Copy a file or directory of a container to the host; return the bytes of its archive. `archive`: with owners;
        `follow`: not a symlink, but what it leads to. Raises NotFound, Conflict, StorageError, RuntimeFailure, and as `get`.
        """
        from cratebox.engine import copying

        self._tell("archive-path", self.get(reference))
        return copying.from_container(self._whose(reference), path, to, archive, follow)

    def copy_to(self, reference: str, path: str, to: str, archive: bool = False, follow: bool = False) -> int:
        """Copy a file or directory of the host into a container. Otherwise as `copy_from`."""
        from cratebox.engine import copying

        self._tell("extract-to-dir", self.get(reference))
        return copying.to_container(self._whose(reference), path, to, archive, follow)

    def copy_out(self, reference: str, path: str, to: int, follow: bool = False) -> None:
        """Write a file or directory of a container to a descriptor, as a tar archive.
        Raises as `copy_from`, BrokenPipeError.
        """
        from cratebox.engine import copying

        self._tell("archive-path", self.get(reference))
        copying.archive_of(self._whose(reference), path, to, follow)

    def copy_in(self, reference: str, archive: int, to: str) -> None:
        """Unpack the tar archive that a descriptor gives into a directory of a container. Raises as `copy_from`, Untrusted."""
        from cratebox.engine import copying

        self._tell("extract-to-dir", self.get(reference))
        copying.unpack(self._whose(reference), archive, to)

    def _whose(self, reference: str) -> Whose:
        from cratebox.engine.container_root import Whose

        return Whose(self.paths, self.identity, self.images, self.get(reference))

    # Looking

    def get(self, reference: str) -> Container:
        """Return the container, which gets a supervisor where it has been left without one. Raises NotFound, Conflict for an
        ambiguous ID, StorageError for a damaged record.
        """
        return records.cared_for(self.paths, records.load(self.paths, records.find(self.paths, reference)))

    def status(self, reference: str) -> ContainerStatus:
        """Return what is true of a container now. Raises as `get`."""
        return records.status(self.paths, self.get(reference))

    def list(
        self,
        all: bool = False,  # noqa: A002  Docker's word
        filters: Sequence[str] = (),
        last: int = 0,
    ) -> Sequence[ContainerStatus]:
        """Return running containers, or all, newest first. One whose record is damaged is listed as status "dead".

        `filters` are words as of `ps --filter`: "status=exited", "label=KEY=VALUE" (selection.KEYS); `last`: that many of the
        newest, in whatever state. Raises InvalidValue and Unsupported for a filter, StorageError.
        """
        from cratebox.engine import listing

        return listing.select(self.paths, self.images, all, filters, last)

    def published(self, containers: Sequence[ContainerStatus]) -> dict[str, tuple[Port, ...]]:
        """Return the ports of this machine that lead to each container which runs, by ID."""
        from cratebox.engine import listing

        return listing.published(self.paths, self.identity.rootless, containers)

    def sizes(self, containers: Sequence[Container | ContainerStatus]) -> dict[str, ContainerSize]:
        """Return what each container has written, what its log takes and how large its image is, by ID, in bytes.

        What cannot be read, or is being removed, counts as nothing. Raises StorageError.
        """
        from cratebox.engine import sizes

        return sizes.of_containers(self.paths, self.images, containers)

    def inspect(self, reference: str, size: bool = False) -> dict[str, Any]:
        """Return a container in Docker's form of `inspect`; with `size`, SizeRw and SizeRootFs in bytes. Raises as `get`."""
        from cratebox.engine.inspect import container_document

        container = self.get(reference)
        measured = self.sizes([container])[container.id] if size else None
        status = records.status(self.paths, container)
        network = self.network(container) if status.pid else None
        return container_document(self.paths, container, status, self._layers(container), measured, network)

    def ports(self, container: Container) -> Sequence[Port]:
        """Return the ports of this machine that lead to a container which runs; none to one that does not."""
        if (
            not (container.config.ports or container.config.publish_all)
            or records.running_state(self.paths, container.id) is None
        ):
            return ()
        network = self.network(container)
        return network.ports if network else ()

    def network(self, container: Container) -> Reservation | None:
        """Return what a container that runs has of networks: addresses, names, published ports; None where it can have none."""
        if not is_on_networks(container.config):
            return None
        from cratebox.engine import connections

        return connections.known(self.paths, self.identity.rootless, container)

    def _layers(self, container: Container) -> Sequence[str]:
        """What is left of an image that was deleted by hand keeps nobody from looking at the container."""
        try:
            return self.images.layer_directories(container)
        except (NotFound, StorageError):
            return ()

    def stats(self, identities: Sequence[str] = (), all: bool = False) -> Iterator[Sequence[Usage]]:  # noqa: A002  Docker's word
        """Yield what these containers use (none named: those that run, or all), again and again, a second apart.

        Raises StorageError.
        """
        from cratebox.engine import stats

        return stats.watch(lambda: stats.named(self.paths, identities) if identities else self.list(all=all), self.paths)

    def logs(
        self, reference: str, follow: bool = False, tail: int | None = None, since: int | None = None, until: int | None = None
    ) -> Iterator[Sequence[Entry]]:
        """Yield what the container wrote, as much at once as there is: (stream, nanoseconds since 1970, bytes, attributes).

        `tail`: only the last lines; `since` and `until`: of those only the ones of that time, in nanoseconds since 1970.
        Raises as `get`; Unsupported where its log driver keeps nothing.
        """
        from cratebox.engine import log_reading

        container = self.get(reference)
        if container.config.log_driver == "none":
            raise Unsupported(f"{container.name} keeps no log: it was made with --log-driver none")
        where = records.directory(self.paths, container.id)
        wanted = log_reading.Wanted(tail, since, until)
        return log_reading.read(where + "/log", wanted, (lambda: records.is_locked(where)) if follow else None)

    def diff(self, reference: str) -> Sequence[Change]:
        """Return what a container has changed in its root, as `docker diff` does. Raises as `get`, Unsupported for rootfs:."""
        from cratebox.engine import container_layers

        return container_layers.changes(self.paths, self.images, self.get(reference))

    def export(self, reference: str, to: int | str) -> None:
        """Write a container's files as a tar archive to a descriptor, or to a file: that whole or not at all.

        Raises as `get`, Unsupported for rootfs:, StorageError, BrokenPipeError where nobody reads from the descriptor any more.
        """
        from cratebox.engine import exporting
        from cratebox.engine.container_layers import ContainerRoot

        container = self.get(reference)
        root = ContainerRoot(self.paths, self.images, container)
        if isinstance(to, str):
            exporting.to_file(root, to)
        else:
            exporting.to(root, to, "the archive")
        self._tell("export", container)

    def commit(self, reference: str, wish: committing.Wish) -> StoredImage:
        """Make an image of a container's changes. Raises as `get`, and as committing.commit."""
        from cratebox.engine import committing

        container = self.get(reference)
        image = committing.commit(self.paths, self.images, container, wish)
        self._tell("commit", container)
        return image

    def _tell(self, action: str, container: Container) -> None:
        events.emit(self.paths, "container", action, container.id, events.of_container(container))

    def pids(self, reference: str) -> Sequence[int]:
        """Return the processes of a container that runs, by the machine's numbers.
        Raises Conflict where it does not, as `get`.
        """
        from cratebox.engine import processes

        return processes.pids(self.paths, self.get(reference))

    def top(self, reference: str) -> Sequence[Running]:
        """Return what is known of the processes of a container that runs. Raises as `pids`."""
        from cratebox.engine import processes

        found = processes.read(self.pids(reference))
        self._tell("top", self.get(reference))
        return found

    # Ending

    def kill(self, reference: str, signal: int = SIGKILL) -> None:
        """Send a signal to the container's process. Raises Conflict where it does not run."""
        from cratebox.engine import stopping

        stopping.kill(self.paths, self.get(reference), signal)

    def stop(self, reference: str, timeout: float | None = None, signal: int | None = None) -> None:
        """Send the stop signal, wait, then SIGKILL; return when the container has ended and its supervisor is done.

        `timeout` is in seconds, None for the container's own or 10, negative for ever; `signal` takes the stop signal's
        place. A stopped container is left alone. Raises Conflict, RuntimeFailure where it does not even die of SIGKILL.
        """
        from cratebox.engine import stopping

        stopping.stop(self.paths, self.get(reference), timeout, signal)

    def restart(self, reference: str, timeout: float | None = None, signal: int | None = None) -> None:
        """Stop a container as `stop` does, where it runs, and start it. Raises what both raise."""
        container = self.get(reference)
        if container.config.remove and self.status(reference).alive:
            raise Conflict(f"{container.name} is removed when it ends (--rm), so nothing would be left to start again")
        from cratebox.engine import stopping

        stopping.stop(self.paths, container, timeout, signal)
        self.start(container.id)
        events.emit(self.paths, "container", "restart", container.id, events.of_container(container))

    def update(self, reference: str, restart: str | None = None, **limits: Any) -> Container:
        """Change the restart policy and the fields of `Limits` that are given, of a container that runs or not, all or none;
        return it as it is now.

        Raises InvalidValue, Unsupported for a limit that cannot be had here, RuntimeFailure for what the kernel refuses.
        """
        from cratebox.engine import updating

        return updating.update(self.paths, self.identity.rootless, self.get(reference), limits, restart)

    def pause(self, reference: str) -> None:
        """Freeze the container's processes. Raises Conflict where it does not run, Unsupported without a cgroup."""
        from cratebox.engine import pausing

        pausing.pause(self.paths, self.get(reference))

    def unpause(self, reference: str) -> None:
        """Let the processes of a paused container go on. Raises Conflict where it is not paused."""
        from cratebox.engine import pausing

        pausing.unpause(self.paths, self.get(reference))

    def probe(self, reference: str) -> int:
        """Run the health command of a container now; return its exit code.
        Raises Conflict where it has none or does not run.
        """
        from cratebox.engine import probing

        return probing.ask(self.paths, self.get(reference))

    def wait(self, reference: str, conditions: Sequence[str] = ("stopped",), interval: float = 0.25) -> int:
        """Wait for one of `conditions` (waiting.CONDITIONS); return the exit code where it is that the container has ended,
        else -1. `interval` is in seconds, for conditions that have to be asked for. Raises as `get`.
        """
        from cratebox.engine import waiting

        return waiting.wait(self.paths, self.get(reference), conditions, interval)

    def remove(self, reference: str, force: bool = False, volumes: bool = False) -> None:
        """Delete a container and all that is its own; `force` kills it first. `volumes`: those of its volumes that have no
        name, and that no other container has, too. Raises Conflict where it runs, NotFound.
        """
        from cratebox.engine import ending

        ending.remove(self.paths, self.images, reference, force, volumes)

    def prune(self, filters: Filters | None = None) -> Pruned:
        """Remove the containers that neither run nor will by themselves, as `docker container prune` does.
        Raises StorageError.
        """
        from cratebox.engine import pruning

        return pruning.containers(self.paths, self.images, filters or pruning.Filters())
