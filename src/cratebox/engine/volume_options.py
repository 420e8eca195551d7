"""--opt of `volume create`, and volume-opt of --mount: what a volume is instead of a directory of crate's own, in the words of
Docker's local driver: type, device and o, as those of mount(8).

    (nothing)                              a directory below ROOT/volumes
    type=none o=bind device=/srv/data      a directory of this machine
    type=tmpfs o=size=64m,mode=1777        memory, for as long as a container that has it runs
    type=nfs o=addr=10.0.0.2,rw device=:/x whatever else the kernel can mount, as root

Nothing is mounted on the machine: each container that has the volume mounts it for itself.
"""

from __future__ import annotations

import os

from cratebox.engine.words import shown
from cratebox.errors import InvalidValue, Unsupported
from cratebox.record import Record
from cratebox.runtime import mount_options
from cratebox.runtime.spec import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYS = ("type", "o", "device")
_WITHOUT_ROOT = ("tmpfs",)  # what the kernel lets a user namespace mount, and is of use as a volume
_KERNELS_OWN = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts", "devtmpfs", "securityfs", "debugfs", "tracefs", "bpf")


class Origin(Record):
    """Where a volume's files are. `kind`: "directory", "bind" (of `device`) or "new" (a file system of `type`, from `device`).

    `options` are those of the mount, `data` those of the file system.
    """

    kind: str = "directory"
    type: str = ""
    device: str = ""
    options: tuple[str, ...] = ()
    data: tuple[str, ...] = ()


def origin_of(options: Mapping[str, str]) -> Origin:
    """Return what options say. Raises InvalidValue, Unsupported."""
    for key in options:
        if key == "size":
            raise Unsupported("a volume cannot have a size", "a tmpfs can: --opt type=tmpfs --opt o=size=64m")
        if key not in _KEYS:
            raise InvalidValue(f"no such option of a volume: {shown(key)}", f"there are {', '.join(_KEYS)}")
    if not options:
        return Origin()
    words = tuple(word for word in options.get("o", "").split(",") if word)
    kind, device = options.get("type", ""), options.get("device", "")
    if {"bind", "rbind"} & set(words) or kind in ("none", "bind"):
        return _bind(device, words)
    if not kind:
        raise InvalidValue(
            "the type of the volume is missing", "--opt type=tmpfs, or --opt type=none --opt o=bind --opt device=/DIR"
        )
    if kind in _KERNELS_OWN or not kind.replace(".", "").replace("_", "").isalnum():
        raise InvalidValue(f"no file system for a volume: {shown(kind)}")
    if kind != "tmpfs" and not device:
        raise InvalidValue(f"a volume of type {kind} needs a device", "--opt device=/dev/..., or --opt device=:/EXPORT for nfs")
    sorted_ = mount_options.split(Mount("/", kind, device, words))
    return Origin("new", kind, device or kind, tuple(word for word in words if word not in sorted_.rest), sorted_.rest)


def _bind(device: str, words: tuple[str, ...]) -> Origin:
    if not device.startswith("/"):
        raise InvalidValue(f"not an absolute path: device={shown(device)}", "--opt type=none --opt o=bind --opt device=/DIR")
    unknown = mount_options.split(Mount("/", "bind", device, words)).rest
    if unknown:
        raise InvalidValue(f"no such option of a bind mount: {shown(unknown[0])}", "--opt o=bind,ro,noexec,...")
    return Origin("bind", "none", device, tuple(word for word in words if word not in ("bind", "rbind")) + _depth(words))


def _depth(words: tuple[str, ...]) -> tuple[str, ...]:
    return ("rbind",) if "rbind" in words else ("bind",)


def check(options: Mapping[str, str], rootless: bool) -> None:
    """Raise InvalidValue or Unsupported for options of a volume that this user cannot have."""
    origin = origin_of(options)
    if origin.kind == "new" and rootless and origin.type not in _WITHOUT_ROOT:
        raise Unsupported(
            f"mounting a file system of type {origin.type} takes root",
            f"mount it, then --opt type=none --opt o=bind --opt device={origin.device}",
        )


def file_system(origin: Origin) -> tuple[str, ...]:
    """Return the options for a new file system; the name behind addr= is looked up, for the kernel wants a number.
    Raises InvalidValue.
    """
    return tuple("addr=" + _address(word[5:]) if word.startswith("addr=") else word for word in origin.data)


def _address(name: str) -> str:
    import _socket

    try:
        found = _socket.getaddrinfo(name, None)
    except OSError as error:
        raise InvalidValue(f"the volume's server {shown(name)} is not known: {error.strerror}") from None
    return str(found[0][4][0])


def device_is_there(origin: Origin) -> bool:
    """Tell whether the directory that a volume is bound to is there."""
    return origin.kind != "bind" or os.path.isdir(origin.device)
