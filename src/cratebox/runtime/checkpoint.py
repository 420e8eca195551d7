"""checkpoint: the processes of a container written to files, and the container deleted, unless it is to go on.

What criu leaves out, since it is the host's, is in criu_places.py. Where a dump fails the container runs on as it was: criu
lets its processes go again. Memory alone is written by a pre-dump;
a later dump that names it as its parent writes what has changed since.
"""

from __future__ import annotations

import os

from cratebox.cgroup import base as cgroups
from cratebox.errors import Conflict, InvalidValue, NotFound, RuntimeFailure
from cratebox.record import Record
from cratebox.runtime import criu, criu_images, place
from cratebox.runtime import criu_messages as messages
from cratebox.runtime import criu_places as places
from cratebox.runtime import state as saved
from cratebox.runtime.ending import delete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.criu_messages import Value
    from cratebox.runtime.spec import Spec

_LOG = "dump.log"
_EVERYTHING = 4  # criu's level of logging
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET, as criu takes it for --empty-ns


class Images(Record):
    """Where images are and what is in them beside the usual; for checkpoint and restore. `images` and `work` are absolute."""

    images: str
    work: str
    program: str = "criu"
    tcp_established: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    auto_dedup: bool = False
    link_remap: bool = False
    lazy_pages: bool = False
    cgroups_mode: str = "soft"
    empty_network: bool = False

    def options(self) -> dict[str, Value | list[Value]]:
        """Return what criu is told in both directions."""
        return {
            "tcp_established": self.tcp_established,
            "ext_unix_sk": self.ext_unix_sk,
            "shell_job": self.shell_job,
            "file_locks": self.file_locks,
            "auto_dedup": self.auto_dedup,
            "link_remap": self.link_remap,
            "lazy_pages": self.lazy_pages,
            "manage_cgroups": True,
            "manage_cgroups_mode": messages.CGROUP_MODES[self.cgroups_mode],
            "empty_ns": _NEW_NETWORK if self.empty_network else 0,
            "orphan_pts_master": True,
            "notify_scripts": True,
            "log_level": _EVERYTHING,
        }


class Dump(Record):
    """What else checkpoint is told. `parent` is relative to the images;
    `page_server` is address and port, "" and 0 for none. `status_fd`, or -1, is where criu writes a zero byte once the pages
    that it keeps to itself, with `lazy_pages`, can be fetched.
    """

    parent: str = ""
    leave_running: bool = False
    pre_dump: bool = False
    tcp_skip_in_flight: bool = False
    page_server: tuple[str, int] = ("", 0)
    status_fd: int = -1


def checkpoint(root: str, name: str, wanted: Images, dump: Dump) -> None:
    """Write the container `name` to files. Raises NotFound, Conflict where it does not run, Unsupported,
    StorageError, RuntimeFailure.
    """
    directory = place.directory_of(root, name)
    lock = place.lock(directory)
    try:
        found = saved.load(directory)
        now = saved.status(found, directory)
        if now not in {"running", "paused"}:
            raise Conflict(
                "container not running" if now != "created" else "cannot checkpoint a created container", "start it first"
            )
        program = criu.find(wanted.program)
        _write(directory, found, wanted, dump, program)
    except OSError as error:
        raise RuntimeFailure(f"cannot checkpoint container {name}: {error.strerror}") from None
    finally:
        os.close(lock)
    if not (dump.leave_running or dump.pre_dump):
        try:
            delete(root, name, force=True)
        except NotFound:
            pass  # whoever ran it in the foreground was faster


def _write(directory: str, found: saved.State, wanted: Images, dump: Dump, program: str) -> None:
    document = saved.load_spec(directory)
    places.check_namespaces(document)
    _check_parent(wanted.images, dump.parent)
    fds = [criu_images.make_directory(wanted.images)]
    try:
        fds.append(criu_images.make_directory(wanted.work))
        options = _options(document, found, wanted, dump) | {"images_dir_fd": fds[0], "work_dir_fd": fds[1]}
        if not dump.pre_dump:
            names, external = places.streams_at_dump(found.pid)
            places.save_streams(fds[0], names)
            options["external"] = [*_list(options["external"]), *external]
        place.unlink(wanted.work, _LOG)  # the errors that are told must be those of this time
        keep = (*fds, dump.status_fd) if dump.status_fd >= 0 else tuple(fds)
        session = criu.Session(program, lambda: None, keep)
        try:
            said = session.ask(messages.PRE_DUMP if dump.pre_dump else messages.DUMP, options, lambda _said, _fds: None)
            if said.success and not dump.pre_dump:  # after a pre-dump criu waits for the next request
                session.wait()
        finally:
            session.close()
        if not said.success:
            raise criu.failure("write the container", f"{wanted.work}/{_LOG}", said.reason)
    finally:
        for fd in fds:
            os.close(fd)


def _list(value: Value | list[Value]) -> list[Value]:
    return value if isinstance(value, list) else [value]


def _check_parent(images: str, parent: str) -> None:
    if parent.startswith("/"):
        raise InvalidValue("--parent-path must be relative to the images", f"--parent-path {os.path.relpath(parent, images)}")
    if parent and not os.path.isdir(os.path.normpath(os.path.join(images, parent))):  # the images are not there yet
        raise InvalidValue(f"--parent-path {parent}: there is no such directory in {images}", "it is relative to the images")


def _options(document: Spec, found: saved.State, wanted: Images, dump: Dump) -> dict[str, Value | list[Value]]:
    address, port = dump.page_server
    server: dict[str, Value] = {"address": address, "port": port}
    status: dict[str, Value | list[Value]] = {"status_fd": dump.status_fd} if dump.status_fd >= 0 else {}
    return (
        wanted.options()
        | status
        | {
            "log_file": _LOG,
            "pid": found.pid,
            "root": found.rootfs,
            "leave_running": dump.leave_running,
            "tcp_skip_in_flight": dump.tcp_skip_in_flight,
            "parent_img": dump.parent,
            "track_mem": bool(dump.parent) or dump.pre_dump,
            "freeze_cgroup": _freezer(found),
            "external": [*places.mounts_at_dump(document, found.pid), *places.namespaces_at_dump(document)],
            "ps": server if address else "",
        }
    )


def _freezer(found: saved.State) -> str:
    """Return the directory by which all processes are stopped at once, "" where there is none:
    criu stops one after the other then.
    """
    for controllers, directory in cgroups.from_paths(found.cgroup).directories.items():
        if "freezer" in controllers.split(",") or controllers == "unified":
            return directory
    return ""
