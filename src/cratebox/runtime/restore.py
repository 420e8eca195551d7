"""restore: a container of what checkpoint has written.

    crate-oci restore                          criu, in the new cgroup and a mount namespace of its own
    -----------------                          -------------
    claims the ID, makes the cgroup
    forks a guardian, which clears away
    should this process be killed
    forks ----------------------------------> mounts the root on itself; becomes criu
             <------------------------------- setup-namespaces: the first process is there, as our child
    hooks prestart, createRuntime
             <------------------------------- orphan-pts-master: its terminal
             <------------------------------- post-restore, then the answer: it runs
    writes the state, hooks poststart

Mounts that criu makes are in the namespaces of criu and of the container: none can be left behind. The spec of the bundle
decides what of the host the container gets, its limits and its hooks;
what its processes are, down to their capabilities, is what the images say.
"""

from __future__ import annotations

import os

from cratebox import jsontext
from cratebox.cgroup import base as cgroups
from cratebox.cgroup import mark
from cratebox.errors import CrateError, RuntimeFailure, Unsupported
from cratebox.linux import const, mount, namespaces, process
from cratebox.linux.procfs import read_text
from cratebox.record import Record
from cratebox.runtime import bundle as bundles
from cratebox.runtime import console, criu, criu_images, hooks, joining, place, validate
from cratebox.runtime import criu_messages as messages
from cratebox.runtime import criu_places as places
from cratebox.runtime import state as saved
from cratebox.runtime.device_rules import with_default_devices
from cratebox.runtime.mount_options import is_new, place_of
from cratebox.runtime.overlay import put
from cratebox.runtime.targets import open_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.bundle import Settings
    from cratebox.runtime.checkpoint import Images
    from cratebox.runtime.criu_messages import Answer, Value
    from cratebox.runtime.spec import Spec

_LOG = "restore.log"
_DONE = b"!"


class Labels(Record):
    """Other labels than those of the images: "apparmor:NAME" or "selinux:LABEL" for processes,
    an SELinux context for mounts.
    """

    profile: str = ""
    mount_context: str = ""


class Guardian(Record):
    """The process that clears away where this one is killed, and the pipe to it."""

    pipe: int
    pid: int


class Restoring:
    """A container on its way back. `pid` and `master`, its terminal, are 0 and -1 until criu has told them."""

    def __init__(
        self, directory: str, state: saved.State, document: Spec, settings: Settings, directories: tuple[int, int]
    ) -> None:
        self.directory = directory
        self.state = state
        self.document = document
        self.settings = settings
        self.directories = directories  # of the images and of the work
        self.group: cgroups.Cgroup | None = None
        self.guardian = Guardian(-1, 0)
        self.pid = 0
        self.master = -1
        self.hooks_ran = False

    def notified(self, said: Answer, fds: tuple[int, ...]) -> None:
        """Do what is to be done at one of criu's steps."""
        if said.script == "orphan-pts-master" and fds:
            self.master, *more = fds
        else:
            more = list(fds)
        for fd in more:
            os.close(fd)
        if said.script == "setup-namespaces":
            self.pid = said.at
            os.write(self.guardian.pipe, f"{said.at} {process.start_time(said.at)}\n".encode())
            if self.document.hooks:
                self.hooks_ran = True
                told = {**bundles.hook_state(self.state), "status": "creating", "pid": said.at}
                hooks.run("prestart", self.document.hooks.prestart, told)
                hooks.run("createRuntime", self.document.hooks.create_runtime, told)


def restore(root: str, name: str, bundle: str, wanted: Images, labels: Labels, settings: Settings, detach: bool) -> int:
    """Make the container `name` of images; return at once with `detach`, else its exit code, as run does.

    Raises as create does, and NotFound, StorageError for images that are none or not root's alone; nothing is left then.
    """
    from cratebox.runtime import lifecycle

    before = console.hold_signals()
    master = -1
    try:
        pid, master = _restore(root, name, bundle, wanted, labels, settings, detach)
        if detach:
            return 0
        return lifecycle.stay_and_delete(root, name, pid, master, before)
    finally:
        if master >= 0:
            os.close(master)
        console.release_signals(before)


def _restore(
    root: str, name: str, bundle: str, wanted: Images, labels: Labels, settings: Settings, detach: bool
) -> tuple[int, int]:
    place.check_id(name)
    document = bundles.read(bundle + "/config.json")
    validate.validate(document)
    program = criu.find(wanted.program)
    _check(document, settings, detach)
    images = criu_images.open_images(wanted.images)
    work, lock = -1, -1
    paths: tuple[tuple[str, int], ...] = ()
    try:
        work = criu_images.make_directory(wanted.work)
        driver = place.driver(settings.rootless, settings.cgroup_manager)
        cgroup = (document.linux.cgroups_path if document.linux else "") or driver.default_path(name)
        driver.check_path(cgroup)
        driver.heed(document.annotations or {})
        state = bundles.blank_state(name, bundle, document, cgroup).replace(
            manager=driver.name if driver.name in {"systemd", "disabled"} else ""
        )
        paths = joining.open_paths(document.linux) if document.linux else ()
        directory, lock = place.claim(root, name)
        one = Restoring(directory, state, bundles.with_sources(document, bundle), settings, (images, work))
        options = wanted.options() | _fixed(one, labels)
        return _make(root, one, wanted, options, paths, program, driver)
    finally:
        joining.close(paths)
        for fd in (images, work, lock):
            if fd >= 0:
                os.close(fd)


def _check(document: Spec, settings: Settings, detach: bool) -> None:
    bundles.check(document, settings, detach)
    if settings.no_pivot:
        raise Unsupported("restore cannot do without pivot_root(2): criu calls it")
    if document.linux and document.linux.intel_rdt:
        raise Unsupported("linux.intelRdt cannot be had at a restore")
    places.check_namespaces(document)


def _fixed(one: Restoring, labels: Labels) -> dict[str, Value | list[Value]]:
    return {
        "images_dir_fd": one.directories[0],
        "work_dir_fd": one.directories[1],
        "log_file": _LOG,
        "root": one.state.rootfs,
        "rst_sibling": True,
        "evasive_devices": True,
        "lsm_profile": labels.profile,
        "lsm_mount_context": labels.mount_context,
        "join_ns": list(places.joined_namespaces(one.document)),
    }


def _make(
    root: str,
    one: Restoring,
    wanted: Images,
    options: dict[str, Value | list[Value]],
    paths: tuple[tuple[str, int], ...],
    program: str,
    driver: cgroups.Driver,
) -> tuple[int, int]:
    """Have criu make it; where that fails, or a hook, nothing stays."""
    log = f"{wanted.work}/{_LOG}"
    session = None
    try:
        saved.save(one.directory, one.state)
        saved.save_spec(one.directory, one.document)
        one.guardian = _guard(root, one.state.id)
        place.unlink(wanted.work, _LOG)
        session = _begin(one, program, driver, paths)
        assert one.group is not None
        options |= {
            "external": list(places.staged(one.directory, places.mounts_at_restore(one.document, one.group.directories))),
            "inherit_fd": [*places.inherited_streams(wanted.images), *places.inherited_namespaces(paths)],
            "cg_root": list(_cgroup_roots(session.pid)),
        }
        said = session.ask(messages.RESTORE, options, one.notified)
        if not said.success:
            raise criu.failure("restore the container", log, said.reason)
        one.pid = said.pid
        session.wait()
        _keep(one)
        _run_poststart(one)
    except BaseException as error:
        if session:
            session.close()
            session = None
        _undo(one)
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            raise RuntimeFailure(f"cannot restore container {one.state.id}: {where}{error.strerror}") from None
        raise
    finally:
        if session:
            session.close()
        _dismiss(one.guardian)
    return one.pid, one.master


# --- criu's surroundings -------------------------------------------------------------------------------------------------


def _begin(one: Restoring, program: str, driver: cgroups.Driver, paths: tuple[tuple[str, int], ...]) -> criu.Session:
    """Start criu in the container's cgroup, which it is made for, so that what it restores is born there."""
    reading, end = os.pipe2(os.O_CLOEXEC)
    writing = os.fdopen(end, "wb")

    def prepare() -> None:
        writing.close()
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        if not told:
            os._exit(127)  # there is no cgroup; whoever could not make it says so
        _mount_root(one)
        places.stage(one.directory, places.mounts_at_restore(one.document, jsontext.loads(told)))
        for fd in one.directories:
            _open_again(fd)

    def forked(pid: int) -> None:
        linux = one.document.linux
        resources = with_default_devices(linux.resources if linux else None, driver.name)
        one.group = driver.create(one.state.cgroups_path, resources, pid)
        if one.group.directories:
            mark.put(one.group, place.owner(one.directory))
        if not driver.needs_pid:
            one.group.add(pid)
        bundles.give(one.group, one.document)
        with writing:
            writing.write(jsontext.dumps(one.group.directories).encode())

    try:
        return criu.Session(program, prepare, (*one.directories, *(fd for _kind, fd in paths)), forked)
    finally:
        os.close(reading)
        writing.close()


def _mount_root(one: Restoring) -> None:
    """Mount the root on itself, since criu wants a mount, in a namespace that ends with criu;
    make the places of other mounts on it.
    """
    path = one.state.rootfs
    try:
        namespaces.unshare(const.CLONE_NEWNS)
        mount.mount("none", "/", "", const.MS_REC | const.MS_PRIVATE)
        root = put(mount.clone_tree(path), path)
    except OSError as error:
        raise RuntimeFailure(f"cannot mount the root file system at {path}: {error.strerror}") from None
    taken: list[str] = []
    for item in one.document.mounts:
        where = os.path.normpath(place_of(item))
        if not any(where == other or where.startswith(other + "/") for other in taken):
            try:
                target = open_target(root, where, is_new(item) or os.path.isdir(item.source))[0]
            except OSError as error:
                raise RuntimeFailure(f"cannot make the place of the mount at {ascii(where)[1:-1]}: {error.strerror}") from None
            os.close(target)
        taken.append(where)
    if one.document.root and one.document.root.readonly:
        mount.set_attributes(root, const.MOUNT_ATTR_RDONLY)
    os.close(root)


def _open_again(fd: int) -> None:
    """Have `fd` lead to the same directory in this mount namespace:
    criu mounts below it, which the kernel refuses in another one.
    """
    new = os.open(os.readlink(f"/proc/self/fd/{fd}"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if not os.path.samestat(os.fstat(new), os.fstat(fd)):
        raise RuntimeFailure("the directory of criu's images was moved meanwhile")
    os.dup2(new, fd)
    os.close(new)


def _cgroup_roots(pid: int) -> list[dict[str, str]]:
    """Return where the cgroups of the images go in each hierarchy: to where criu, process `pid`, is (cgroups(7))."""
    rows = [line.split(":", 2) for line in read_text(f"/proc/{pid}/cgroup").splitlines()]
    return [{"ctrl": controller, "path": path} for _number, controllers, path in rows for controller in controllers.split(",")]


# --- the guardian --------------------------------------------------------------------------------------------------------


def _guard(root: str, name: str) -> Guardian:
    """Leave a process behind that deletes the container where this one ends without a word."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = namespaces.clone(0)
    if pid:
        os.close(reading)
        os.close(pidfd)
        return Guardian(writing, pid)
    try:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        process.close_from(3, (reading,))  # the lock as well
        _watch(root, name, reading)
    finally:
        os._exit(0)


def _watch(root: str, name: str, reading: int) -> None:
    from cratebox.runtime.ending import delete

    said = b""
    while part := os.read(reading, 4096):
        said += part
    if said.endswith(_DONE):
        return
    if said:
        pid, started = map(int, said.split())
        try:
            process.send_signal(process.open_pidfd(pid, started), 9)
        except ProcessLookupError:
            pass
    delete(root, name, force=True)


def _dismiss(guardian: Guardian) -> None:
    if guardian.pid:
        try:
            os.write(guardian.pipe, _DONE)
        except BrokenPipeError:
            pass  # it was killed: that is no reason to call a container that runs failed, nor to hide why another one did
        os.close(guardian.pipe)
        os.waitpid(guardian.pid, 0)


# --- what comes after ----------------------------------------------------------------------------------------------------


def _keep(one: Restoring) -> None:
    """Write down the container that runs, and hand over its terminal."""
    wants = bool(one.document.process and one.document.process.terminal)
    if wants != (one.master >= 0):
        raise RuntimeFailure(
            f"the spec has {'a' if wants else 'no'} terminal, and the images have {'none' if wants else 'one'}"
        )
    assert one.group is not None
    one.state = one.state.replace(pid=one.pid, started=process.start_time(one.pid), cgroup=one.group.paths())
    saved.save_identity(one.directory, one.state)
    saved.save(one.directory, one.state)
    if one.settings.pid_file:
        bundles.write_pid(one.settings.pid_file, one.pid)
    if one.settings.console_socket:
        console.send(one.settings.console_socket, one.master)
        os.close(one.master)
        one.master = -1


def _run_poststart(one: Restoring) -> None:
    if one.document.hooks:
        told = {**bundles.hook_state(one.state), "status": "running", "pid": one.pid}
        hooks.run("poststart", one.document.hooks.poststart, told)


def _undo(one: Restoring) -> None:
    """Remove all that there is of it. What cannot be removed must not hide why it failed."""
    if one.master >= 0:
        os.close(one.master)
        one.master = -1
    for kill in (lambda: os.kill(one.pid, 9), lambda: os.waitpid(one.pid, 0)):
        try:
            if one.pid:  # our child, and not waited for: the number is still its own
                kill()
        except (ProcessLookupError, ChildProcessError):
            pass
    if one.settings.pid_file and one.state.pid:
        place.unlink("", one.settings.pid_file)
    try:
        if one.group:
            one.group.kill()
            one.group.remove()
        saved.forget(one.directory)
    except (CrateError, OSError):
        pass
    if one.hooks_ran:
        bundles.run_poststop(one.state, one.document.hooks)
