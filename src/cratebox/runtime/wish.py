"""What is asked of the runtime: values alone, so that whoever asks need not import what does the work."""

from __future__ import annotations

from cratebox.record import Record
from cratebox.runtime.spec import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cratebox.cgroup.base import Cgroup

    Listener = Callable[[int, int], None]


class Overlay(Record):
    """A root made of read-only layers below a writable directory: overlayfs (Documentation/filesystems/overlayfs).

    `lower` are the layers' directories, lowest first; `options` are further ones of the file system ("volatile"). Without
    `upper` and `work` what is written goes to memory and is gone with the container.
    """

    lower: tuple[str, ...]
    upper: str = ""
    work: str = ""
    options: tuple[str, ...] = ()


class Bind(Record):
    """What a bind mount is beyond what a spec can say. `subpath`: not its source is meant but this path below it, out of which
    no symlink leads. `fill`: a directory that is empty begins with what the root has at the place; `resume`: it is filled by
    halves, and what is missing is to be added.
    """

    subpath: str = ""
    fill: bool = False
    resume: bool = False


def keeps_groups(annotations: dict[str, str] | None) -> bool:
    """Tell whether a spec asks that the caller's supplementary groups stay, in crun's words, as Podman does for keep-groups."""
    return (annotations or {}).get("run.oci.keep_original_groups") == "1"


class Wish(Record):
    """What to create: a validated spec and what of its surroundings the specification leaves to the caller."""

    spec: Spec
    bundle: str
    stdio: tuple[int, int, int] = (0, 1, 2)
    overlay: Overlay | None = None  # instead of a directory at root.path
    filter: tuple[bytes, int] | None = None  # the compiled linux.seccomp
    listener: Listener | None = None  # is given pid and descriptor of a filter that asks somebody
    cgroup: Cgroup | None = None  # made already, or
    make_cgroup: Callable[[int], Cgroup] | None = None  # made while init mounts; is given init's pid
    # Mounts that are made already and attached nowhere, by their destination among the spec's bind mounts, whose source is not
    # looked at, and the root as "/"; init has them once it has begun, and they are closed here.
    trees: dict[str, int] = {}  # noqa: RUF012  never changed
    binds: dict[str, Bind] = {}  # noqa: RUF012  by destination, of those that are more than a spec says; never changed
    held: tuple[int, ...] = ()  # descriptors that the spec's /proc/self/fd/N mean
    also: str = ""  # a second program that must be there, since the first one (a reaper) will execute it
    gate: int = -1  # descriptors of the FIFOs, where another process will start the container
    report: int = -1
    door: int = -1  # a socket that listens, where its owner may not look into the container's process: see door.py
    hook_state: dict[str, Any] | None = None  # the container's state as hooks are told it, without status and pid
    preserve_fds: int = 0
    new_keyring: bool = True
    tell_namespaces: bool = False  # whoever wishes calls `create.namespaces_of` before `await_ready`
    keep_groups: bool = False  # the caller's supplementary groups stay, mapped or not
    no_pivot: bool = False  # change to the root by moving it over /, which is for ramdisks
