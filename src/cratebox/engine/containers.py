"""The containers of one user: create, start, run, stop, kill, remove, look at."""

from __future__ import annotations

import os
import time

from cratebox.engine import container as records
from cratebox.engine.config import ContainerConfig, check_hostname, check_name
from cratebox.engine.container import Container, ContainerStatus
from cratebox.engine.idmaps import Identity
from cratebox.engine.specgen import command_of
from cratebox.errors import Conflict, CrateError, InvalidValue, NotFound, OverlayRefused, StorageError
from cratebox.linux import process
from cratebox.paths import Paths, private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from cratebox.engine.images import Images, Provided
    from cratebox.engine.launch import Prepared, Start

_SIGKILL = 9
_SECONDS_TO_STOP = 10.0
_SECONDS_TO_DIE = 10.0


class Containers:
    """`engine.containers`. Every `reference` is a name, a full ID or a unique beginning of one."""

    def __init__(self, paths: Paths, identity: Identity, images: Images) -> None:
        self.paths, self.identity, self.images = paths, identity, images
        self._progress: Any = None  # of the last create or run

    # Making

    def create(self, config: ContainerConfig, pull: str = "missing", progress: Any = None, quiet: bool = False) -> Container:
        """Make a container, not running, and return it.

        `pull` is "always", "missing" or "never". Raises NotFound, Conflict (the name), InvalidValue, StorageError and what
        a pull raises; nothing is left then.
        """
        del quiet  # it is the progress that is quiet
        container, lock = self._make(config, pull, progress)
        os.close(lock)
        return container

    def _make(self, config: ContainerConfig, pull: str, progress: Any) -> tuple[Container, int]:
        private_directory(self.paths.root)
        config = _checked(config)
        self._progress = progress
        self.images.tell_notice(progress)
        with self.images.using():
            return self._make_from(config, self.images.provide(config.image, config.platform, pull, progress))

    def _make_from(self, config: ContainerConfig, image: Provided) -> tuple[Container, int]:
        identity = records.new_id()
        container = Container(
            id=identity,
            name=config.name or "",
            created=time.time(),
            image=config.image,
            image_id=image.id,
            config=config,
            defaults=image.defaults,
            layers=image.layers,
            rootfs=image.rootfs,
        )
        command_of(config, image.defaults)
        return self._put(container)

    def _put(self, container: Container) -> tuple[Container, int]:
        """Write the container's directory beside its place, take the name, then rename: it is there whole or not at all."""
        new, final = f"{self.paths.containers}/.new-{container.id}", records.directory(self.paths, container.id)
        try:
            try:
                os.mkdir(new, 0o700)
            except FileNotFoundError:
                os.makedirs(new, 0o700)
            lock = records.try_lock(new)
            assert lock is not None
            container = self._claim(container)
            for name in ("/rootfs", "/rw", "/rw/upper", "/rw/work"):
                os.mkdir(new + name, 0o755 if name != "/rw" else 0o700)
            os.chmod(new + "/rw/upper", 0o755)  # noqa: S103  whatever the umask: it is / of the container
            records.write_json(new + "/container.json", container, durable=not container.config.remove)
            os.rename(new, final)
        except OSError as error:
            self._take_back(new, container)
            raise StorageError(
                f"cannot make a container in {self.paths.containers}: {error.strerror}",
                "the disk is full: crate rm and crate rmi free space" if error.errno == 28 else None,
            ) from None
        except CrateError:
            self._take_back(new, container)
            raise
        return container, lock

    def _claim(self, container: Container) -> Container:
        if container.name:
            records.claim_name(self.paths, container.name, container.id)
            return container
        from cratebox.engine.names import random_name

        for attempt in range(50):
            name = random_name() + (os.urandom(2).hex() if attempt > 5 else "")
            try:
                records.claim_name(self.paths, name, container.id)
            except Conflict:
                continue
            return container.replace(name=name, config=container.config)
        raise Conflict("no free name was found for the container", "give it one: --name")

    def _take_back(self, new: str, container: Container) -> None:
        if container.name and records.name_holder(self.paths, container.name) == container.id:
            records.release_name(self.paths, container.name, container.id)
        _delete(new, self.images)

    # Running

    def run(
        self,
        config: ContainerConfig,
        detach: bool = False,
        pull: str = "missing",
        progress: Any = None,
        sig_proxy: bool = True,
        detach_keys: bytes | None = None,
        cidfile: str | None = None,
    ) -> int | str:
        """Create and start a container. Attached: stay, and return its exit code (0 where the user detached); with
        `detach`: return its ID once its program runs.

        Raises what `create` and `start` raise. A container that could not be started stays, save with `remove`.
        """
        ticket = _claim_file(cidfile) if cidfile else -1
        try:
            container, lock = self._make(config, pull, progress)
        except BaseException:
            if cidfile:
                os.close(ticket)
                os.unlink(cidfile)
            raise
        if ticket >= 0:
            os.write(ticket, container.id.encode())
            os.close(ticket)
        if progress is not None and hasattr(progress, "close"):
            progress.close()
        code = self._start(
            container, lock, attach=not detach, interactive=config.interactive, forward=sig_proxy, keys=detach_keys
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
        """Start a container that is not running; with `command` in place of CMD for this time.

        Attached: stay and return its exit code, None where the user detached. Raises NotFound, Conflict where it runs
        already, CommandNotFound, CannotInvoke and other RuntimeFailures.
        """
        container = self.get(reference)
        lock = records.try_lock(records.directory(self.paths, container.id))
        if lock is None or records.running_state(self.paths, container.id):
            if lock is not None:
                os.close(lock)
            raise Conflict(
                f"{container.name} is running already", f"crate stop {container.name}, or crate logs {container.name}"
            )
        return self._start(
            container, lock, command=command, attach=attach, interactive=interactive and container.config.interactive,
            keys=detach_keys, forward=True,
        )  # fmt: skip

    def _start(
        self, container: Container, lock: int, *, attach: bool, interactive: bool, forward: bool, keys: bytes | None,
        command: tuple[str, ...] = (),
    ) -> int | None:  # fmt: skip
        from cratebox.engine import launch

        start = launch.Start(
            paths=self.paths,
            identity=self.identity,
            container=container,
            layers=(),
            lock=lock,
            remove=lambda: self._vanish(container),
            command=command,
            attach=attach,
            interactive=interactive,
            forward_signals=forward,
            detach_keys=keys,
        )
        try:
            return launch.launch(*self._prepared(start))
        except OverlayRefused as error:
            self._remember_no_overlay(error)
        lock_again = records.try_lock(records.directory(self.paths, container.id))
        if lock_again is None:
            raise Conflict(f"{container.name} was started by somebody else meanwhile")
        return launch.launch(*self._prepared(start.replace(lock=lock_again)))

    def _prepared(self, start: Start) -> tuple[Start, Prepared]:
        """Make ready what the start needs; where that fails, the lock is free again and --rm is kept."""
        from cratebox.engine import launch

        container, ready = start.container, False
        try:
            self._prepare_mounts(container.config)
            start = start.replace(layers=self.images.layer_directories(container))
            if os.path.exists(self.paths.state + "/no-overlay") and not container.rootfs:
                self._copy_layers(container, start.layers)
            prepared = launch.prepare(start)
            ready = True
        finally:
            if not ready:
                if container.config.remove:
                    self._remove_locked(container)
                os.close(start.lock)
        return start, prepared

    def _remember_no_overlay(self, error: OverlayRefused) -> None:
        """Until the next boot containers are made from copies; say so once."""
        try:
            os.close(os.open(self.paths.state + "/no-overlay", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as failed:
            raise StorageError(f"cannot write to {self.paths.state}: {failed.strerror}") from None
        if self._progress is not None:
            self._progress.message(f"no overlayfs here, so each container gets a copy of its image ({error.message})")

    def _copy_layers(self, container: Container, layers: tuple[str, ...]) -> None:
        to = records.directory(self.paths, container.id) + "/copy"
        if os.path.isdir(to):
            return
        from cratebox.engine.flatten import flatten

        def work() -> bytes:
            try:
                flatten(layers, to)
            except OSError as failed:
                return str(failed.strerror).encode()
            return b""

        failure = self.images.run_inside(work)
        if failure:
            raise StorageError(f"cannot copy the image to {to}: {failure.decode()}")

    @staticmethod
    def _prepare_mounts(config: ContainerConfig) -> None:
        """A missing source of -v is made, as Docker does; one of --mount is an error."""
        for one in config.mounts:
            if one.kind != "bind" or os.path.lexists(one.source):
                continue
            if not one.make_source:
                raise InvalidValue(f"cannot mount {one.source} at {one.target}: there is no such file or directory here")
            try:
                os.makedirs(one.source, exist_ok=True)
            except OSError as error:
                raise InvalidValue(f"cannot make {one.source}, to be mounted at {one.target}: {error.strerror}") from None

    # Looking

    def get(self, reference: str) -> Container:
        """Return the container. Raises NotFound, Conflict for an ambiguous ID, StorageError for a damaged record."""
        return records.load(self.paths, records.find(self.paths, reference))

    def status(self, reference: str) -> ContainerStatus:
        """Return what is true of a container now. Raises as `get`."""
        return records.status(self.paths, self.get(reference))

    def list(self, all: bool = False) -> Sequence[ContainerStatus]:  # noqa: A002  Docker's word
        """Return running containers, or all, newest first. One whose record is damaged is listed as status "dead"."""
        found = []
        for identity in records.identities(self.paths):
            try:
                status = records.status(self.paths, records.load(self.paths, identity))
            except NotFound:
                continue  # removed meanwhile
            except StorageError as error:
                status = ContainerStatus(
                    id=identity, name="", image="", image_id="", command=(), created=0.0, status="dead", error=error.message
                )
            if all or status.status == "running":
                found.append(status)
        return sorted(found, key=lambda one: one.created, reverse=True)

    def inspect(self, reference: str) -> dict[str, Any]:
        """Return a container in Docker's form of `inspect`. Raises as `get`."""
        from cratebox.engine.inspect import container_document

        container = self.get(reference)
        return container_document(self.paths, container, records.status(self.paths, container))

    def logs(
        self, reference: str, follow: bool = False, tail: int | None = None, timestamps: bool = False
    ) -> Iterator[tuple[str, int, bytes]]:
        """Yield what the container wrote: (stream, nanoseconds since 1970, bytes). Raises as `get`."""
        from cratebox.engine import logs

        del timestamps  # how it is shown is the caller's
        container = self.get(reference)
        path = records.directory(self.paths, container.id) + "/log"
        if not follow:
            return logs.read(path, tail)
        return logs.follow(path, lambda: self._is_busy(container.id), tail)

    def _is_busy(self, identity: str) -> bool:
        """Tell whether the container runs or its supervisor still writes."""
        try:
            lock = records.try_lock(records.directory(self.paths, identity))
        except NotFound:
            return False
        if lock is None:
            return True
        os.close(lock)
        return False

    # Ending

    def kill(self, reference: str, signal: int = _SIGKILL) -> None:
        """Send a signal to the container's process. Raises Conflict where it does not run."""
        container = self.get(reference)
        pidfd = self._pidfd(container)
        try:
            process.send_signal(pidfd, signal)
        except ProcessLookupError:
            raise Conflict(f"{container.name} is not running") from None
        except PermissionError as error:
            raise Conflict(f"cannot signal {container.name}: {error.strerror}") from None
        finally:
            os.close(pidfd)

    def _pidfd(self, container: Container) -> int:
        state = records.running_state(self.paths, container.id)
        if state is None:
            status = records.status(self.paths, container).status
            raise Conflict(f"{container.name} is {status}, not running", f"crate start {container.name}")
        try:
            return process.open_pidfd(state.pid, state.started)
        except ProcessLookupError:
            raise Conflict(f"{container.name} is not running") from None

    def stop(self, reference: str, timeout: float | None = None) -> None:
        """Send the stop signal, wait, then SIGKILL; return when the container has ended and its supervisor is done.

        `timeout` is in seconds, None for the container's own or 10, negative for ever. A stopped container is left alone.
        """
        container = self.get(reference)
        try:
            pidfd = self._pidfd(container)
        except Conflict:
            return
        from cratebox.engine.signals import parse

        signal = parse(container.config.stop_signal or container.defaults.stop_signal or "TERM")
        if timeout is None:
            timeout = _SECONDS_TO_STOP if container.config.stop_timeout is None else container.config.stop_timeout
        try:
            process.send_signal(pidfd, signal)
            if not _ended(pidfd, timeout):
                process.send_signal(pidfd, _SIGKILL)
                _ended(pidfd, _SECONDS_TO_DIE)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)
        self._wait_for_supervisor(container)

    def _wait_for_supervisor(self, container: Container) -> None:
        end = time.monotonic() + _SECONDS_TO_DIE
        while self._is_busy(container.id):
            if time.monotonic() > end:
                raise Conflict(
                    f"{container.name} has ended, but its supervisor is still busy", "its output may be held up somewhere"
                )
            time.sleep(0.005)

    def remove(self, reference: str, force: bool = False, volumes: bool = False) -> None:
        """Delete a container and all that is its own; `force` kills it first. Raises Conflict where it runs, NotFound."""
        from cratebox.engine import lost

        del volumes  # anonymous volumes are not there yet: there is nothing that would stay
        identity = records.find(self.paths, reference)
        try:
            container = records.load(self.paths, identity)
        except (StorageError, NotFound):
            if not force:
                raise
            container = Container(id=identity, name="", created=0.0, image="", image_id="", config=ContainerConfig(image=""))
        if force:
            self._kill_for_removal(container)
        try:
            lock = records.try_lock(records.directory(self.paths, identity))
        except NotFound:
            if force:
                return  # its supervisor was faster (--rm)
            raise
        if lock is None or (not force and records.running_state(self.paths, identity)):
            if lock is not None:
                os.close(lock)
            name = container.name or identity[:12]
            raise Conflict(f"{name} is running", f"crate stop {name}, or crate rm -f {name}")
        try:
            lost.remove_cgroup(identity, records.directory(self.paths, identity), self.identity.rootless)
            self._remove_locked(container)
        finally:
            os.close(lock)

    def _kill_for_removal(self, container: Container) -> None:
        try:
            pidfd = self._pidfd_of_any(container.id)
            try:
                process.send_signal(pidfd, _SIGKILL)
                _ended(pidfd, _SECONDS_TO_DIE)
            finally:
                os.close(pidfd)
        except ProcessLookupError:
            pass
        except OSError as error:
            raise Conflict(f"cannot kill {container.name or container.id[:12]}: {error.strerror}") from None
        try:
            self._wait_for_supervisor(container)
        except NotFound:
            pass  # its supervisor removed it (--rm)

    def _pidfd_of_any(self, identity: str) -> int:
        """Return a pidfd of a container's process, also where its state is damaged. Raises ProcessLookupError, OSError."""
        try:
            state = records.running_state(self.paths, identity)
        except StorageError:
            from cratebox.engine import lost

            return os.pidfd_open(lost.first_process(records.directory(self.paths, identity)) or 0x7FFFFFFF)
        if state is None:
            raise ProcessLookupError
        return process.open_pidfd(state.pid, state.started)

    def _remove_locked(self, container: Container) -> None:
        self._vanish(container)()

    def _vanish(self, container: Container) -> Callable[[], None]:
        """Free the name and make the container invisible, in one step; return what then deletes its files.

        Whoever calls holds the lock.
        """
        where = records.directory(self.paths, container.id)
        gone = f"{self.paths.containers}/.removing-{container.id}"
        try:
            os.rename(where, gone)
        except FileNotFoundError:
            return lambda: None
        except OSError as error:
            raise StorageError(f"cannot remove {where}: {error.strerror}") from None
        name = container.name or self._name_of(container.id)
        if name:
            records.release_name(self.paths, name, container.id)
        from cratebox.runtime import state

        state.forget(f"{self.paths.running}/{container.id}")
        return lambda: _delete(gone, self.images)

    def _name_of(self, identity: str) -> str:
        """Find the name of a container whose record is damaged."""
        try:
            names = os.listdir(self.paths.root + "/names")
        except OSError:
            return ""
        return next((name for name in names if records.name_holder(self.paths, name) == identity), "")


def _checked(config: ContainerConfig) -> ContainerConfig:
    """The command line has checked this; a program's words come here first. Raises InvalidValue."""
    if config.name is not None:
        check_name(config.name)
    if config.hostname is not None:
        check_hostname(config.hostname)
    if config.working_dir is not None and not config.working_dir.startswith("/"):
        raise InvalidValue(f"the working directory {config.working_dir!a} is not absolute", "-w takes a path of the container")
    return config


def _claim_file(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise Conflict(
            f"the file for the container's ID is there already: {path}", f"rm {path}, or choose another --cidfile"
        ) from None
    except OSError as error:
        raise StorageError(f"cannot write the container's ID to {path}: {error.strerror}") from None


def _ended(pidfd: int, timeout: float) -> bool:
    """Wait until the process of `pidfd` has ended, at most `timeout` seconds (negative: for ever)."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout < 0 else timeout * 1000))


def _delete(path: str, images: Images) -> None:
    """Delete a container's directory. Without root, files of its other users take the user's namespace."""
    from cratebox.image import tree

    parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            tree.remove(parent, os.path.basename(path))
        except FileNotFoundError:
            return
        except PermissionError:
            images.run_inside(lambda: _delete_inside(path))
    except OSError as error:
        raise StorageError(f"cannot delete {path}: {error.strerror}") from None
    finally:
        os.close(parent)


def _delete_inside(path: str) -> bytes:
    from cratebox.image import tree

    parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    tree.remove(parent, os.path.basename(path))
    os.close(parent)
    return b""
