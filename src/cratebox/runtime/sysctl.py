"""Kernel parameters of the container's namespaces (config-linux.md, Sysctl; sysctl(8)).
Only specs that have some import this.
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue, RuntimeFailure
from cratebox.linux import beneath, process
from cratebox.runtime.values import check_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.spec import Namespace

_OF_IPC = ("fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm", "kernel.auto_msgmni")
# In a user namespace the files of these cannot be written to; the calls that set them can be made.
_OF_UTS = {"kernel.hostname": process.set_hostname, "kernel.domainname": process.set_domainname}


def check(wanted: dict[str, str], own: frozenset[str]) -> None:
    """Refuse what is no parameter, and what belongs to no namespace of `own`, the kinds that the container has: it would
    change the machine. Raises InvalidValue.
    """
    for name, value in wanted.items():
        check_text("linux.sysctl", name + value)
        kind = namespace_of(name)
        if kind is None:
            raise InvalidValue(f"spec: linux.sysctl {name!a} belongs to no namespace, it would change the host")
        if kind not in own:
            raise InvalidValue(f"spec: linux.sysctl {name!a} without a {kind} namespace would change the host")


def _parts(name: str) -> list[str]:
    """Return the parts of a parameter's path. What comes first separates, a dot or a slash; the other stands for the first
    within a part: net.ipv4.conf.eth0/1.forwarding is that of the interface eth0.1.
    """
    first = next((sign for sign in name if sign in "./"), ".")
    parts = name.split("/") if first == "/" else [part.replace("/", ".") for part in name.split(".")]
    if not name.isprintable() or any(part in {"", ".", ".."} for part in parts):
        raise InvalidValue(f"spec: linux.sysctl {name!a} is no name of a kernel parameter")
    return parts


def namespace_of(parameter: str) -> str | None:
    """Return the kind of namespace that a parameter belongs to, if it is one of those that the kernel keeps apart.
    Raises InvalidValue.
    """
    name = ".".join(_parts(parameter))
    if name.startswith("net."):
        return "network"
    if name.startswith(_OF_IPC):
        return "ipc"
    return "uts" if name in _OF_UTS else None


def check_joined(wanted: dict[str, str], namespaces: tuple[Namespace, ...]) -> None:
    """Refuse parameters of a namespace that is joined and is the runtime's own: they would be the machine's.
    Raises InvalidValue.
    """
    kinds = {namespace_of(name): name for name in wanted}
    for one in namespaces:
        if one.path and one.type in kinds and _is_ours(one.path, one.type):
            raise InvalidValue(
                f"spec: linux.sysctl {kinds[one.type]!a}: the {one.type} namespace {one.path!a} is the runtime's own, it would"
                " change the host"
            )


def _is_ours(path: str, kind: str) -> bool:
    try:
        return os.path.samefile(path, f"/proc/self/ns/{'net' if kind == 'network' else kind}")
    except OSError:
        return False  # whoever joins it says what is wrong with it


def namespaces_of(wanted: dict[str, str]) -> dict[str, tuple[int, int]]:
    """Return device and inode of this process's namespaces that `wanted` is about, by the kernel's name. Raises OSError."""
    kinds = {namespace_of(name) for name in wanted}
    names = {"net" if kind == "network" else kind for kind in kinds if kind}
    return {name: (info.st_dev, info.st_ino) for name in names for info in (os.stat(f"/proc/self/ns/{name}"),)}


def _check_left(proc: int, callers: dict[str, tuple[int, int]]) -> None:
    for name, before in callers.items():
        info = os.stat(f"self/ns/{name}", dir_fd=proc)
        if (info.st_dev, info.st_ino) == before:
            raise RuntimeFailure(
                f"cannot set linux.sysctl: the {name} namespace is the runtime's own, it would change the host"
            )


def apply(wanted: dict[str, str], callers: dict[str, tuple[int, int]]) -> None:
    """Write the parameters, in this process's namespaces. Raises RuntimeFailure that names the parameter.

    None of them may be one of `callers`, the runtime's own: what was found at the path of a namespace when it was looked at
    need not be what was joined. Through a procfs that nobody can have mounted anything on:
    a write of ours must not end elsewhere (CVE-2025-52881).
    """
    proc = beneath.trusted_procfs()
    try:
        _check_left(proc, callers)
        for name, value in wanted.items():
            try:
                parts = _parts(name)
                by_call = _OF_UTS.get(".".join(parts))
                if by_call:
                    by_call(value)
                else:
                    beneath.write_trusted(proc, "sys/" + "/".join(parts), value)
            except OSError as error:
                raise RuntimeFailure(f"cannot set linux.sysctl {name} to {value!a}: {error.strerror}") from None
    finally:
        os.close(proc)
