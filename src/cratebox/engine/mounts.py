"""What the container sees of the host's files: the words of -v, --mount and --tmpfs."""

from __future__ import annotations

import os.path

from cratebox.engine.words import boolean, shown, size
from cratebox.errors import InvalidValue, Unsupported
from cratebox.record import Record

_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_BIND_OPTIONS = (*_PROPAGATION, "bind", "rbind", "noexec", "nosuid", "nodev")
# What asks for nothing here: crate puts no SELinux label on a process, so content needs none (z, Z); the others are about
# Docker's virtual machine on other systems.
_WITHOUT_MEANING = ("z", "Z", "consistent", "cached", "delegated")
_TMPFS_FLAGS = (
    "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "atime", "noatime", "diratime", "nodiratime",
    "relatime", "norelatime", "strictatime", "nostrictatime", "sync", "async",
)  # fmt: skip
_TMPFS_SAFE = ("noexec", "nosuid", "nodev")
_MOUNT_NAMES = {
    "src": "source", "dst": "target", "destination": "target", "ro": "readonly", "bind-propagation": "propagation",
}  # fmt: skip
_MOUNT_FLAGS = ("readonly", "bind-nonrecursive")
_MOUNT_KEYS = ("type", "source", "target", "propagation", "tmpfs-size", "tmpfs-mode", "consistency", *_MOUNT_FLAGS)


class MountWish(Record):
    """A directory, a file or an empty file system that the container sees at `target` (absolute).

    `kind` is "bind" or "tmpfs". `make_source`: a missing `source` is made, as a directory (-v does that, --mount does not).
    `options` are mount options in the words of mount(8); for a tmpfs they are complete, Docker's noexec, nosuid and nodev
    among them, and `source` is empty.
    """

    kind: str
    source: str
    target: str
    read_only: bool = False
    options: tuple[str, ...] = ()
    make_source: bool = False


def parse_volume(text: str, cwd: str) -> MountWish:
    """Return the bind mount of `-v SOURCE:TARGET[:OPTION,...]`; a SOURCE that begins with a dot is below `cwd`."""
    parts = text.split(":")
    if len(parts) == 1:
        raise Unsupported(
            f"no source in -v {shown(text)}: volumes without a name are not there yet", "write SOURCE:TARGET, or use --tmpfs"
        )
    if len(parts) > 3 or not all(parts):
        raise InvalidValue(f"not a volume: {shown(text)}", "write SOURCE:TARGET or SOURCE:TARGET:ro")
    read_only, options = _bind_options(text, parts[2] if len(parts) == 3 else "")
    return MountWish(
        kind="bind",
        source=_source(parts[0], cwd),
        target=_target(parts[1]),
        read_only=read_only,
        options=options,
        make_source=True,
    )


def _bind_options(text: str, words: str) -> tuple[bool, tuple[str, ...]]:
    given = words.split(",") if words else []
    options = tuple(word for word in given if word in _BIND_OPTIONS)
    for word in given:
        if word not in ("ro", "rw", *_BIND_OPTIONS, *_WITHOUT_MEANING):
            raise InvalidValue(f"-v {shown(text)}: no such option: {shown(word)}", "ro, rw, noexec, nosuid, nodev, rslave, ...")
    if {"ro", "rw"} <= set(given) or len([word for word in options if word in _PROPAGATION]) > 1:
        raise InvalidValue(f"-v {shown(text)}: the options contradict each other")
    return "ro" in given, options


def _source(text: str, cwd: str) -> str:
    """-v takes a word without a slash for the name of a volume."""
    if not text.startswith(("/", ".")):
        raise Unsupported(f"no volume {shown(text)}: named volumes are not there yet", f"for a directory write ./{text}")
    return _bind_source(text, cwd)


def _bind_source(text: str, cwd: str) -> str:
    path = text if text.startswith("/") else f"{cwd}/{text}"
    if "\0" in path:
        raise InvalidValue(f"not a path: {shown(text)}")
    return _clean(path)


def _target(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise InvalidValue(f"not a path in the container: {shown(text)}", "it is absolute: begins with /")
    path = _clean(text)
    if path == "/":
        raise InvalidValue("nothing can be mounted at / of the container")
    return path


def _clean(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/")  # normpath keeps two leading slashes


def parse_mount(text: str, cwd: str) -> MountWish:
    """Return the mount of `--mount type=bind|tmpfs,source=..,target=..[,readonly]...`, a line of CSV as Docker reads it."""
    given = {}
    for field in _fields(text):
        key, equals, value = field.partition("=")
        key = _MOUNT_NAMES.get(key, key)
        if key.startswith("volume-"):
            raise Unsupported(f"--mount {shown(text)}: named volumes are not there yet", "type=bind or type=tmpfs")
        if key not in _MOUNT_KEYS or not (equals or key in _MOUNT_FLAGS):
            raise InvalidValue(f"--mount {shown(text)}: no such field: {shown(field)}", "fields: " + ", ".join(_MOUNT_KEYS))
        given[key] = value if equals else "true"
    return _mount(text, given, cwd)


def _fields(text: str) -> list[str]:
    if '"' not in text:
        return text.split(",")
    import csv

    try:
        (row,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError):
        raise InvalidValue(f"--mount {shown(text)} is no line of CSV", 'quote a whole field: "source=/a,b",target=/c') from None
    return row


def _mount(text: str, given: dict[str, str], cwd: str) -> MountWish:
    kind = given.get("type", "volume")
    if kind not in ("bind", "tmpfs"):
        raise Unsupported(
            f"--mount {shown(text)}: no type {shown(kind)}: named volumes are not there yet", "type=bind or type=tmpfs"
        )
    foreign = [key for key in given if key.startswith(("bind-", "propagation") if kind == "tmpfs" else "tmpfs-")]
    if foreign or (kind == "tmpfs" and "source" in given):
        raise InvalidValue(f"--mount {shown(text)}: {(foreign or ['source'])[0]} is not for type={kind}")
    for key in ("target", "source")[: 2 if kind == "bind" else 1]:
        if not given.get(key):
            raise InvalidValue(f"--mount {shown(text)}: {key} is missing", f"add {key}=/PATH")
    read_only = boolean(given.get("readonly", "false"), "readonly of --mount")
    if kind == "tmpfs":
        words = [f"{key[6:]}={given[key]}" for key in ("tmpfs-size", "tmpfs-mode") if key in given]
        return _tmpfs(given["target"], ["ro", *words] if read_only else words)
    return MountWish(
        kind="bind",
        source=_bind_source(given["source"], cwd),
        target=_target(given["target"]),
        read_only=read_only,
        options=_mount_options(given),
    )


def _mount_options(given: dict[str, str]) -> tuple[str, ...]:
    propagation = given.get("propagation")
    if propagation is not None and propagation not in _PROPAGATION:
        raise InvalidValue(f"no such propagation: {shown(propagation)}", ", ".join(_PROPAGATION))
    alone = boolean(given.get("bind-nonrecursive", "false"), "bind-nonrecursive of --mount")
    return (*(("bind",) if alone else ()), *((propagation,) if propagation else ()))


def parse_tmpfs(text: str) -> MountWish:
    """Return the mount of `--tmpfs TARGET[:OPTION,...]`: size=64m, mode=1777, uid=, gid=, ro, exec, ..."""
    target, _, words = text.partition(":")
    return _tmpfs(target, words.split(",") if words else [])


def _tmpfs(target: str, words: list[str]) -> MountWish:
    options = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals and word in _TMPFS_FLAGS:
            options.append(word)
        else:
            options.append(_tmpfs_value(key, value))
    # Docker's defaults: what is written to a tmpfs is not run, unless `exec` says so.
    defaults = [safe for safe in _TMPFS_SAFE if safe not in options and safe[2:] not in options]
    rest = [word for word in options if word not in ("ro", "rw")]
    return MountWish(kind="tmpfs", source="", target=_target(target), read_only="ro" in options, options=(*defaults, *rest))


def _tmpfs_value(key: str, value: str) -> str:
    if key == "size" and not value.endswith("%"):
        return f"size={size(value, 'the size of a tmpfs')}"
    decimal = value.removesuffix("%") if key == "size" else value
    octal = key == "mode"
    good = 0 < len(decimal) < 20 and set(decimal) <= set("01234567" if octal else "0123456789")
    if key not in ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks") or not good or (octal and int(value, 8) > 0o7777):
        word = f"{key}={value}" if value else key
        raise InvalidValue(f"not an option of a tmpfs: {shown(word)}", "size=64m, mode=1777, uid=, gid=, ro, exec, ...")
    return f"{key}={value}"
