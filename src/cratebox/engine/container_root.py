"""The root file system of a container, whether it runs or not, as a directory's descriptor in a process of its own.

What is read and written there is hostile: symlinks that are exchanged meanwhile (CVE-2018-15664), programs and libraries that
wait to be loaded by the host's root (CVE-2019-14271). So nobody ever goes there. The process keeps the host's root, its mount
namespace or a copy of that, and its PID namespace; what it imports and looks up is the host's. Of the container it has one
descriptor, and every path is opened below that with openat2(2), RESOLVE_IN_ROOT (linux/beneath.py). It is not dumpable: no
process of the container's user can look into it.

    running    /proc/PID/root of the container's first process, which shows all that is mounted there: volumes, tmpfs
    otherwise  the overlay is mounted once more, with what the container would have bound to it, in a mount namespace that ends with
               the process. The container's lock is held meanwhile, so nobody starts it

An ordinary user's process is root of the container's user namespace there, so that it may give and take the container's IDs.
"""

from __future__ import annotations

import gc
import os
import signal
import time

from cratebox.engine import dialogue, hostfiles, id_ranges, records, root_parts, spec_mounts
from cratebox.errors import Conflict, CrateError, OverlayRefused, RuntimeFailure, StorageError
from cratebox.linux import const, mount, namespaces, process, userns
from cratebox.record import Record
from cratebox.runtime import inside, program, rootfs
from cratebox.runtime import mounts as mounting
from cratebox.runtime.spec import VERSION, Mount, Root, Spec
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from cratebox.engine.config import ContainerConfig
    from cratebox.engine.idmaps import Identity
    from cratebox.engine.images import Images
    from cratebox.engine.records import Container
    from cratebox.engine.volume_mounts import Located
    from cratebox.paths import Paths
    from cratebox.runtime.state import State
    from cratebox.runtime.wish import Overlay

_SECONDS_TO_SETTLE = 10.0  # for a container that is just being started, restarted or ended
_PAUSE = 0.005
_THERE, _AWAY, _DONE, _PIPE_CLOSED = b"T", b"A", b"D", b"P"


class Whose(Record):
    """The container that is visited, and what it takes to find its files."""

    paths: Paths
    identity: Identity
    images: Images
    container: Container


def visit(whose: Whose, work: Callable[[int], bytes]) -> bytes:
    """Call `work` with a descriptor (O_PATH) of the container's root, in a process of its own; return what it returns.

    The files are those that the container's processes see, or would see. `work` may use every descriptor that the caller has
    open. What it raises is raised here. Raises Conflict where the container is neither running nor still, StorageError,
    RuntimeFailure.
    """
    with begin(whose, work) as visitor:
        return visitor.answer()


def begin(whose: Whose, work: Callable[[int], bytes]) -> Visitor:
    """Begin what `visit` does, and return when `work` is being done. Raises what kept it from that."""
    state, lock = _hold(whose)
    try:
        return _begin_running(state, work) if state is not None else _begin_still(whose, work)
    finally:
        if lock >= 0:
            os.close(lock)  # the visitor has it too, for as long as it lives


def _hold(whose: Whose) -> tuple[State | None, int]:
    """Return the state of a container that runs, or the lock of one that does not."""
    container = whose.container
    end = time.monotonic() + _SECONDS_TO_SETTLE
    while True:
        state = records.running_state(whose.paths, container.id)
        if state is not None and inside.is_inside(state):
            return state, -1
        lock = records.try_lock(records.directory(whose.paths, container.id)) if state is None else None
        if lock is not None:
            return None, lock
        if time.monotonic() > end:
            raise Conflict(
                f"{container.name} is neither running nor stopped", "it is being started, restarted or removed: try again"
            )
        time.sleep(_PAUSE)


# Of a container that runs


def _begin_running(state: State, work: Callable[[int], bytes]) -> Visitor:
    try:
        target = process.open_pidfd(state.pid, state.started)
    except ProcessLookupError:
        raise Conflict("the container has just ended", "try again") from None
    root = -1
    try:
        foreign = _is_other_namespace(state, "user")
        root = inside.open_root(state)

        def enter() -> int:
            process.set_dumpable(False)
            if foreign:
                namespaces.setns(target, const.CLONE_NEWUSER)
                program.become_root()
                process.set_dumpable(False)  # changing IDs may have changed it back
            return root

        return Visitor(0, enter, work)
    finally:
        for fd in (target, root):
            if fd >= 0:
                os.close(fd)


def _is_other_namespace(state: State, kind: str) -> bool:
    try:
        inside.await_view(state)
        return os.readlink(f"/proc/{state.pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    except OSError as error:
        raise inside.no_way_in(error) from None


# Of a container that does not run


def _begin_still(whose: Whose, work: Callable[[int], bytes]) -> Visitor:
    container, where = whose.container, records.directory(whose.paths, whose.container.id)
    if container.rootfs:
        raise Conflict(
            f"{container.name} does not run: what a container of rootfs:DIR changes is in memory, and there only while it runs",
            f"crate start {container.name}",
        )
    from cratebox.engine.preparation import prepare_mounts

    layers = whose.images.layer_directories(container)
    volumes = _volumes_of(whose)
    prepare_mounts(volumes.config)
    if root_parts.needs_copy(whose.paths, whose.identity, container):
        root_parts.copy_layers(whose.images, where, layers, container)
    try:
        return _begin_mounted(whose, root_parts.overlay_of(whose.identity, container, where, layers), volumes, work)
    except OverlayRefused as error:
        root_parts.remember_no_overlay(whose.paths, error)
    root_parts.copy_layers(whose.images, where, layers, container)
    return _begin_mounted(whose, None, volumes, work)


def _volumes_of(whose: Whose) -> Located:
    """Return where the container's volumes are. What is in memory alone is not there while it does not run."""
    from cratebox.engine import volume_mounts

    container = whose.container
    found = volume_mounts.located(whose.paths, whose.identity, container, container.config)
    memory = {one.target for one in found.starting if one.origin.type == "tmpfs"}
    mounts = tuple(one for one in found.config.mounts if one.kind == "bind" and one.target not in memory)
    starting = tuple(one for one in found.starting if one.target not in memory)
    return volume_mounts.Located(found.config.replace(mounts=mounts), found.binds, starting)


def _begin_mounted(whose: Whose, overlay: Overlay | None, volumes: Located, work: Callable[[int], bytes]) -> Visitor:
    from cratebox.engine.volume_filling import Filling

    container, where = whose.container, records.directory(whose.paths, whose.container.id)
    root = Root("rootfs" if overlay else where + "/copy")
    spec = Spec(oci_version=VERSION, root=root, mounts=_binds(volumes.config, where))
    filling = Filling(whose.paths, volumes.starting, volumes.binds)
    given = {n: filling.trees[one.destination] for n, one in enumerate(spec.mounts) if one.destination in filling.trees}
    binds = {n: filling.binds[one.destination] for n, one in enumerate(spec.mounts) if one.destination in filling.binds}
    if binds:
        from cratebox.runtime import filling as _loaded  # noqa: F401  nothing is imported any more where the container's files are

    def enter() -> int:
        process.set_dumpable(False)
        root = rootfs.mount_root(spec, where, overlay)
        mounter = mounting.Mounter(root, spec, {}, given, binds)
        mounter.mount(0, len(spec.mounts))
        mounter.finish()
        if container.config.read_only:
            mount.set_attributes(root, const.MOUNT_ATTR_RDONLY)
        return root

    flags = const.CLONE_NEWNS | (const.CLONE_NEWUSER if whose.identity.rootless else 0)
    try:
        visitor = Visitor(flags, enter, work, id_ranges.of_container(whose.identity, container))
        filling.settle()
    finally:
        filling.abandon()  # what was not settled; and its descriptors, which the visitor has
    return visitor


def _binds(config: ContainerConfig, where: str) -> tuple[Mount, ...]:
    """Return what of the host's the container has in its tree, which is the same whenever it runs. Nothing of it is shared
    here, and IDs are those of the disk.
    """
    files = [name for name in hostfiles.NAMES if os.path.exists(f"{where}/{name}")]
    own = [Mount("/etc/" + name, "bind", f"{where}/{name}", ("bind", "rprivate")) for name in files]
    wished = [one.replace(options=("bind",) if "bind" in one.options else (), idmap="") for one in config.mounts]
    return tuple(spec_mounts.in_order(own, wished))


# The process


class Visitor:
    """A child of ours in new namespaces of the kinds `flags`, root of the user namespace if that is one of them; a context
    manager, at whose end it is ended. It answers twice: when it is there, and when its work is done.
    """

    def __init__(
        self, flags: int, enter: Callable[[], int], work: Callable[[int], bytes], owner: Identity | None = None
    ) -> None:
        go, let_go = os.pipe()
        self._reading, writing = os.pipe()
        try:
            self._pid, self._pidfd = namespaces.clone(flags)
        except OSError as error:
            for fd in (go, let_go, self._reading, writing):
                os.close(fd)
            raise RuntimeFailure(f"cannot make a process: {error.strerror}", userns.hint()) from None
        if self._pid == 0:
            os.close(let_go)
            os.close(self._reading)
            _serve(go, writing, bool(flags & const.CLONE_NEWUSER), enter, work)
        os.close(go)
        os.close(writing)
        try:
            if owner and flags & const.CLONE_NEWUSER:
                userns.map_ids(self._pid, owner.uids, owner.gids)
            os.write(let_go, b"G")
            if os.read(self._reading, 1) != _THERE:
                self.answer()
        except BaseException as error:
            self.end()
            if isinstance(error, OSError):
                raise RuntimeFailure(f"cannot write the ID maps of a user namespace: {error.strerror}") from None
            raise
        finally:
            os.close(let_go)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.end()

    def answer(self) -> bytes:
        """Wait for the end of the work; return what it returned. Raises what it raised."""
        with open(self._reading, "rb", closefd=False) as file:
            answer = file.read()
        if answer[:1] == _DONE:
            return answer[1:]
        if answer[:1] == _PIPE_CLOSED:
            raise BrokenPipeError
        if answer[:1] == dialogue.ERROR:
            raise dialogue.unpack_error(answer)
        raise RuntimeFailure("the process that visited the container died", "see dmesg: it may have been out of memory")

    def end(self) -> None:
        """End the process, whatever it does. A second call does nothing."""
        if self._pidfd < 0:
            return
        try:
            process.send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self._pid, 0)
        os.close(self._pidfd)
        os.close(self._reading)
        self._pidfd = -1


def _serve(go: int, writing: int, new_user: bool, enter: Callable[[], int], work: Callable[[int], bytes]) -> NoReturn:
    """What the child does."""
    try:
        if os.read(go, 1) != b"G":
            os._exit(0)
        if new_user:
            program.become_root()
        rest = memoryview(_answer(writing, enter, work))
        while rest:
            rest = rest[os.write(writing, rest) :]
    finally:
        os._exit(0)


def _answer(writing: int, enter: Callable[[], int], work: Callable[[int], bytes]) -> bytes:
    there = False
    try:
        root = enter()
        process.prctl("PR_SET_PDEATHSIG", const.PR_SET_PDEATHSIG, signal.SIGKILL)  # last: changing IDs takes it back
        gc.enable()  # see _entry.py: this may be long work
        there = os.write(writing, _THERE) == 1
        return _DONE + work(root)
    except CrateError as error:
        answer = dialogue.pack_error(error)
    except BrokenPipeError:
        answer = _PIPE_CLOSED
    except OSError as error:
        where = f"{shown(os.fsdecode(error.filename))}: " if error.filename else ""
        answer = dialogue.pack_error(StorageError(f"{where}{error.strerror or error}"))
    except Exception as error:  # noqa: BLE001  nobody else would hear of it
        answer = dialogue.pack_error(RuntimeFailure(f"internal error: {type(error).__name__}: {error}"))
    return answer if there else _AWAY + answer
