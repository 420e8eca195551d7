"""From a bundle on disk to a container that waits, for another process to start: the verb create (runtime.md).

A create that fails leaves nothing. One that is killed leaves at most the container's directory and an empty cgroup: its
process dies with it (KEEP in sync.py), and the next create or delete of that ID removes both.
"""

from __future__ import annotations

import os
import time

from cratebox import jsontext
from cratebox.cgroup import base as cgroups
from cratebox.cgroup import mark
from cratebox.errors import CrateError, InvalidValue, RuntimeFailure, StorageError, Unsupported
from cratebox.linux import process
from cratebox.linux.regular import read_regular
from cratebox.paths import private_directory
from cratebox.record import Record
from cratebox.runtime import cgroup_owner, console, place, program, seccomp, spec, validate, values, warnings
from cratebox.runtime import create as creation
from cratebox.runtime import state as saved
from cratebox.runtime.device_rules import with_default_devices
from cratebox.runtime.mount_options import is_new
from cratebox.runtime.wish import Wish, keeps_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.runtime.wish import Listener

_MOST_OF_SPEC = 16 << 20  # bytes


class Settings(Record):
    """What the caller of create and run chooses beside the bundle."""

    config: str | None = None  # the absolute path of the spec, instead of config.json in the bundle
    pid_file: str | None = None
    pidfd_socket: str | None = None  # where a pidfd of the process is sent to
    console_socket: str | None = None
    preserve_fds: int = 0  # descriptors 3 and up that the container's program inherits
    no_pivot: bool = False
    no_new_keyring: bool = False
    cgroup_manager: str = ""  # cgroupfs, systemd or disabled; "": what there is
    rootless: bool | None = None  # whether cgroups are made as by an ordinary user; None: by who we are


def create(root: str, name: str, bundle: str, settings: Settings, detached: bool) -> tuple[int, int]:
    """Create the container `name` of `bundle`; return its pid and its terminal's master, -1 where that was sent away.

    `detached`: nobody will be there to copy from and to a terminal. The container gets this process's standard streams.
    Raises InvalidValue and Unsupported for what cannot be run as it is written, Conflict for a name that is taken,
    RuntimeFailure; nothing of the container is left then.
    """
    place.check_id(name)
    document = read(settings.config, pipe=True) if settings.config else read(bundle + "/config.json")
    validate.validate(document)
    for text in validate.passed_over(document.process, document.linux):
        warnings.tell(text)
    check(document, settings, detached)
    driver = place.driver(settings.rootless, settings.cgroup_manager)
    cgroup = (document.linux.cgroups_path if document.linux else "") or driver.default_path(name)
    driver.check_path(cgroup)
    driver.heed(document.annotations or {})
    blank = blank_state(name, bundle, document, cgroup).replace(
        manager=driver.name if driver.name in {"systemd", "disabled"} else ""
    )
    wish = _wish(root, bundle, document, settings, blank)
    directory, lock = place.claim(root, name)
    try:
        return _make(directory, blank, wish, settings, driver)
    finally:
        os.close(lock)


def read(path: str, *, pipe: bool = False) -> spec.Spec:
    """Return the spec in the regular file `path`, or the `pipe`. Raises InvalidValue that says what is wrong with it."""
    try:
        return spec.decode(jsontext.loads(read_regular(path, _MOST_OF_SPEC, pipe=pipe)))
    except OSError as error:
        raise InvalidValue(f"cannot read {path}: {(error.strerror or '').lower()}") from None
    except jsontext.JSONError as error:
        raise InvalidValue(f"{path}: {error}") from None


def check(document: spec.Spec, settings: Settings, detached: bool) -> None:
    """Raise InvalidValue, Unsupported for settings that contradict the spec."""
    terminal = bool(document.process and document.process.terminal)
    if settings.no_pivot and document.linux and any(one.type == "user" for one in document.linux.namespaces):
        raise Unsupported(
            "--no-pivot cannot be had in a user namespace: the host's mounts are locked there, and would stay below the container's",
            "put the bundle on a disk or a tmpfs, and leave --no-pivot out",
        )
    if terminal and detached and not settings.console_socket:
        raise InvalidValue("the spec asks for a terminal: --console-socket must say where to send it")
    if settings.console_socket and not terminal:
        raise InvalidValue("--console-socket without process.terminal in the spec: there is no terminal to send")
    values.check_preserved(settings.preserve_fds)


def blank_state(name: str, bundle: str, document: spec.Spec, cgroup: str) -> saved.State:
    """Return the state of a container that has no process yet."""
    assert document.root
    assert document.process
    return saved.State(
        oci_version=document.oci_version,
        id=name,
        bundle=bundle,
        pid=0,
        started=0,
        boot_id=process.boot_id(),
        created=time.time(),
        annotations=document.annotations or {},
        owner=os.geteuid(),
        cgroups_path=cgroup,
        rootfs=os.path.normpath(os.path.join(bundle, document.root.path)),
        command=document.process.args[0],
        hooked=document.hooks is not None,
        own_pids=any(one.type == "pid" and not one.path for one in document.linux.namespaces) if document.linux else True,
    )


def _make(directory: str, state: saved.State, wish: Wish, settings: Settings, driver: cgroups.Driver) -> tuple[int, int]:
    group, created, ends = None, None, (-1, -1, -1)
    linux = wish.spec.linux
    try:
        saved.save(directory, state)
        resources = with_default_devices(linux.resources if linux else None, driver.name)
        if not driver.born_inside:
            wish = wish.replace(make_cgroup=lambda pid: driver.create(state.cgroups_path, resources, pid))
        else:
            group = driver.create(state.cgroups_path, resources)
        ends = (*place.make_fifos(directory), _door(directory, wish))
        asked = listener(state, "creating", linux.seccomp) if linux and linux.seccomp else None
        created = creation.begin(wish.replace(cgroup=group, gate=ends[0], report=ends[1], door=ends[2], listener=asked))
        group = created.cgroup or group
        if group:
            mark.put(group, place.owner(directory))
        give(group, wish.spec)
        saved.save_spec(directory, wish.spec)  # while init mounts
        if linux and linux.intel_rdt:
            state = state.replace(resctrl=_join_rdt(linux.intel_rdt, state.id, created.pid))
        creation.await_ready(created)
        state = state.replace(pid=created.pid, started=created.started, cgroup=group.paths() if group else {})
        saved.save_identity(directory, state)
        saved.save(directory, state)
        if settings.pid_file:
            write_pid(settings.pid_file, created.pid)
        if settings.pidfd_socket:
            console.send(settings.pidfd_socket, created.pidfd, "pidfd")
        if settings.console_socket:
            _send_console(created, settings.console_socket)
        creation.keep(created)
    except BaseException as error:
        if created:
            creation.end(created)
        _undo(directory, group, settings.pid_file if created else None, state.resctrl)
        if created and created.hooks_ran:
            run_poststop(state, wish.spec.hooks)
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            raise RuntimeFailure(f"cannot create container {state.id}: {where}{error.strerror}") from None
        raise
    finally:
        for fd in ends:
            if fd >= 0:
                os.close(fd)
    return created.pid, created.console


def _door(directory: str, wish: Wish) -> int:
    """Make the door, where its owner may not look into the container's process without it; -1 else."""
    if not os.geteuid() or (wish.filter and program.listens(wish.filter)):  # which may hold up what answers there
        return -1
    from cratebox.runtime import door

    return door.make(directory)


def give(group: cgroups.Cgroup | None, document: spec.Spec) -> None:
    """Let the container's root run its cgroup, where the spec wants that. Raises OSError."""
    owner = cgroup_owner.owner(document)
    if group and owner is not None:
        try:
            group.give(owner)
        except PermissionError:
            pass  # an ordinary user can give nothing to others, and has no need to give to himself


def _join_rdt(wanted: spec.IntelRdt, name: str, pid: int) -> tuple[str, ...]:
    from cratebox.runtime import rdt

    return rdt.join(wanted, name, pid, rdt.find())


def remove_rdt(made: tuple[str, ...]) -> None:
    """Remove the directories of linux.intelRdt that were made for a container. Raises OSError."""
    if made:
        from cratebox.runtime import rdt

        rdt.remove(made)


def listener(state: saved.State, status: str, profile: spec.Seccomp) -> Listener:
    """Return what sends the descriptor of a filter that asks somebody to the profile's listener."""

    def send(pid: int, fd: int) -> None:
        from cratebox.runtime import seccomp_notify

        told = {"ociVersion": spec.VERSION, "id": state.id, "status": status, "pid": state.pid or pid, "bundle": state.bundle}
        seccomp_notify.send(profile, told | ({"annotations": state.annotations} if state.annotations else {}), pid, fd)

    return send


def _wish(root: str, bundle: str, document: spec.Spec, settings: Settings, blank: saved.State) -> Wish:
    """Work out all that can be before anything of the container exists; what a profile contradicts itself in is found here."""
    profile = document.linux.seccomp if document.linux else None
    if document.linux and document.linux.sysctl:
        from cratebox.runtime import sysctl

        sysctl.check_joined(document.linux.sysctl, document.linux.namespaces)
    private_directory(root)
    return Wish(
        spec=with_sources(document, bundle),
        bundle=bundle,
        filter=seccomp.cached_filter(f"{root}/{place.CACHE}", profile) if profile else None,
        preserve_fds=settings.preserve_fds,
        new_keyring=not settings.no_new_keyring,
        keep_groups=keeps_groups(document.annotations),
        no_pivot=settings.no_pivot,
        hook_state=hook_state(blank) if document.hooks else None,
    )


def hook_state(state: saved.State) -> dict[str, Any]:
    """Return what hooks are told of a container (runtime.md, State), without status and pid."""
    known = {"ociVersion": state.oci_version, "id": state.id, "bundle": state.bundle}
    return known | ({"annotations": state.annotations} if state.annotations else {})


def run_poststop(state: saved.State, hooks: spec.Hooks | None) -> None:
    """Run the hooks of a container that is gone. What fails is warned of (runtime.md, Lifecycle)."""
    if hooks and hooks.poststop:
        from cratebox.runtime import hooks as running

        for problem in running.run_all("poststop", hooks.poststop, {**hook_state(state), "status": "stopped", "pid": 0}):
            warnings.tell(problem)


def with_sources(document: spec.Spec, bundle: str) -> spec.Spec:
    """Return the spec with absolute sources: a relative one of a bind mount is below the bundle (config.md, Mounts)."""
    return document.replace(mounts=tuple(_from_bundle(one, bundle) for one in document.mounts))


def _from_bundle(one: spec.Mount, bundle: str) -> spec.Mount:
    return one if is_new(one) or one.source.startswith("/") else one.replace(source=os.path.join(bundle, one.source))


def write_pid(path: str, pid: int) -> None:
    """Write the file that the engine waits for: it must never be seen half written."""
    new = f"{path}.{os.getpid()}"
    try:
        # Never what is there: in a directory of others that could be a symlink to a file of ours.
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _no_pid_file(path, error) from None
    try:
        os.write(fd, str(pid).encode())
        os.rename(new, path)
    except OSError as error:
        place.unlink("", new)
        raise _no_pid_file(path, error) from None
    finally:
        os.close(fd)


def _no_pid_file(path: str, error: OSError) -> StorageError:
    return StorageError(f"cannot write the pid file {path}: {error.strerror}")


def _send_console(created: creation.Created, path: str) -> None:
    console.send(path, created.console)
    os.close(created.console)
    created.console = -1


def _undo(directory: str, group: cgroups.Cgroup | None, pid_file: str | None, resctrl: tuple[str, ...]) -> None:
    """Remove what a failed create made. What cannot be removed must not hide why it failed."""
    if pid_file:
        place.unlink("", pid_file)
    try:
        if group:
            group.remove()
        remove_rdt(resctrl)
        saved.forget(directory)  # not where its cgroup is still there: deleting it again removes both
    except (CrateError, OSError):
        pass
