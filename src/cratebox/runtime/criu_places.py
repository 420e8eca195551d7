"""What of a container is not its own, so that criu leaves it out of the images and is told at a restore what to put there.

Mounts have the name of their place in the spec, as runc calls them; standard streams are in descriptors.json among the images;
namespaces that the container joined are those of the spec. Nothing that an image says decides what of the host is shown: only
names come from there, and what they stand for is the spec's.
"""

from __future__ import annotations

import os
import stat

from cratebox import jsontext
from cratebox.errors import InvalidValue, RuntimeFailure, StorageError, Unsupported
from cratebox.linux import const, mount
from cratebox.linux.beneath import open_in_root
from cratebox.linux.procfs import read_text
from cratebox.linux.regular import read_regular
from cratebox.record import Record
from cratebox.runtime.joining import KINDS
from cratebox.runtime.mount_options import is_new, place_of, split
from cratebox.runtime.overlay import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.spec import Spec

DESCRIPTORS = "descriptors.json"
_MOST_OF_DESCRIPTORS = 4096  # bytes
_KEYS = {"network": "extRootNetNS", "pid": "extRootPidNS"}  # as runc calls them
_STREAM_KINDS = ("pipe:[", "file[", "tty[")
_NULL = "/dev/null"
_SAFE = const.MOUNT_ATTR_NOSUID | const.MOUNT_ATTR_NODEV | const.MOUNT_ATTR_NOEXEC


# --- mounts ------------------------------------------------------------------------------------------------------------


def mounts_at_dump(document: Spec, pid: int) -> list[str]:
    """Return what criu takes for the mounts of process `pid` that are the host's, "mnt[PLACE]:NAME"."""
    _check_names(document)
    rows = [_row(line) for line in read_text(f"/proc/{pid}/mountinfo").splitlines()]
    places = {place for place, _kind in rows}
    found = {place: place for place, kind in rows if kind == "cgroup"}
    for name, _source in _binds(document):
        for place in _really(pid, name, places):
            found[place] = name
    for name in document.linux.masked_paths if document.linux else ():
        for place in _really(pid, name, places):
            if ("devtmpfs" in {kind for at, kind in rows if at == place}) or not os.path.isdir(f"/proc/{pid}/root{place}"):
                found[place] = name
    return [f"mnt[{place}]:{name}" for place, name in found.items()]


class Outside(Record):
    """A mount of the host's, by the name that it has for criu, and what is set and cleared on it (MOUNT_ATTR_*),
    and below it.
    """

    name: str
    source: str
    plus: int = 0
    minus: int = 0
    deep: tuple[int, int] = (0, 0)
    recursive: bool = False


def mounts_at_restore(document: Spec, cgroup: dict[str, str]) -> list[Outside]:
    """Return what of the host's the container is given; `cgroup` are its directories there, by controllers."""
    _check_names(document)
    found = {name: Outside(name, source) for name, source in _binds(document)}
    for one in document.mounts:
        options = split(one)
        if place_of(one) in found and not is_new(one):
            deep = (options.deep_plus, options.deep_minus)
            found[place_of(one)] = Outside(place_of(one), one.source, options.plus, options.minus, deep, "rbind" in one.options)
        if one.type == "cgroup":
            for controllers, directory in cgroup.items():
                name = f"{os.path.normpath(place_of(one))}/{controllers.removeprefix('name=')}"
                found[name] = Outside(name, directory, _SAFE | options.plus, options.minus & ~_SAFE)
    for name in document.linux.masked_paths if document.linux else ():
        found[name] = Outside(name, _NULL, const.MOUNT_ATTR_RDONLY)  # it is the host's node: its mode and owner must stay
    return list(found.values())


def stage(directory: str, mounts: list[Outside]) -> None:
    """Mount each of `mounts` at its number in `directory`, with its attributes: criu sets those of the images on some of its
    copies, and leaves others as they are where it takes them from. In a mount namespace that ends with criu.
    Raises RuntimeFailure.
    """
    os.close(put(mount.new_filesystem("tmpfs", ("mode=700",), _SAFE), directory))
    for number, one in enumerate(mounts):
        place = f"{directory}/{number}"
        try:
            tree = mount.clone_tree(one.source, recursive=one.recursive)
            if stat.S_ISDIR(os.fstat(tree).st_mode):
                os.mkdir(place)
            else:
                os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
            if any(one.deep):
                mount.set_attributes(tree, *one.deep, recursive=True)
            if one.plus or one.minus:
                mount.set_attributes(tree, one.plus, one.minus)
            target = os.open(place, const.O_PATH | os.O_CLOEXEC)
            mount.attach(tree, target, one.name)
        except OSError as error:
            raise RuntimeFailure(f"cannot mount {ascii(one.source)[1:-1]}: {error.strerror}") from None
        os.close(target)
        os.close(tree)


def staged(directory: str, mounts: list[Outside]) -> list[str]:
    """Return what criu takes for them, "mnt[NAME]:SOURCE"."""
    return [f"mnt[{one.name}]:{directory}/{number}" for number, one in enumerate(mounts)]


def _check_names(document: Spec) -> None:
    """A name ends for criu with its bracket. A mount that has options of another kind than a bind mount's is not made again."""
    for one in document.mounts:
        if "]" in one.destination or "]" in one.source:
            raise Unsupported(f"mounts: {one.destination!a}: criu cannot take a name with a bracket")
        if one.uid_mappings or "idmap" in one.options or "ridmap" in one.options:
            raise Unsupported(f"mounts: {one.destination!a}: a mount with ID maps of its own cannot be checkpointed")


def _binds(document: Spec) -> list[tuple[str, str]]:
    """Return place and source of each bind mount."""
    return [(place_of(one), one.source) for one in document.mounts if not is_new(one) and "remount" not in one.options]


def _really(pid: int, name: str, places: set[str]) -> list[str]:
    """Return where `name` is mounted in the container of process `pid`, whose symlinks may lead elsewhere;
    nothing where it is not.
    """
    try:
        root = os.open(f"/proc/{pid}/root", const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            target = open_in_root(root, name)
            here = os.readlink(f"/proc/self/fd/{target}").removeprefix(os.readlink(f"/proc/self/fd/{root}").rstrip("/"))
            os.close(target)
        finally:
            os.close(root)
    except OSError:
        return []
    return [one for one in dict.fromkeys((os.path.normpath(name), here)) if one in places]


def _row(line: str) -> tuple[str, str]:
    """Return mount point and file system of a line of mountinfo (proc(5))."""
    words = line.split(" ")
    place = (
        os.fsencode(words[4]).decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")
        if "\\" in words[4]
        else words[4]
    )
    return place, words[words.index("-") + 1]


# --- namespaces --------------------------------------------------------------------------------------------------------


def check_namespaces(document: Spec) -> None:
    """Raise Unsupported for a namespace that criu cannot make again or enter."""
    for one in document.linux.namespaces if document.linux else ():
        if one.type == "user":
            raise Unsupported("a container with a user namespace cannot be checkpointed: its root may not read criu's images")
        if one.path and one.type not in {"network", "pid", "ipc", "uts"}:
            raise Unsupported(f"a {one.type} namespace that the container joined cannot be checkpointed")


def namespaces_at_dump(document: Spec) -> list[str]:
    """Return what criu takes for the namespaces that the container joined, "net[INODE]:KEY".
    Raises InvalidValue where one is gone.
    """
    found = []
    for one in document.linux.namespaces if document.linux else ():
        if one.path and one.type in _KEYS:
            try:
                found.append(f"{KINDS[one.type][1]}[{os.stat(one.path).st_ino}]:{_KEYS[one.type]}")
            except OSError as error:
                raise InvalidValue(f"the {one.type} namespace {one.path}: {(error.strerror or '').lower()}") from None
    return found


def inherited_namespaces(paths: tuple[tuple[str, int], ...]) -> list[dict[str, str | int]]:
    """Return what criu takes for the open namespaces `paths` that it inherits."""
    return [{"key": _KEYS[kind], "fd": fd} for kind, fd in paths if kind in _KEYS]


def joined_namespaces(document: Spec) -> list[dict[str, str]]:
    """Return what criu takes for those that it enters by their path."""
    return [
        {"ns": KINDS[one.type][1], "ns_file": one.path}
        for one in (document.linux.namespaces if document.linux else ())
        if one.path and one.type not in _KEYS
    ]


# --- standard streams --------------------------------------------------------------------------------------------------


def streams_at_dump(pid: int) -> tuple[list[str], list[str]]:
    """Return what the standard streams of process `pid` are, and which of them criu has to be told of:
    those of the host's files.

    The end of a pipe that is outside needs no telling: at a restore it is given by the pipe's name.
    """
    mounts = {line.split(" ", 1)[0] for line in read_text(f"/proc/{pid}/mountinfo").splitlines()}
    names = [_stream(pid, fd, mounts) for fd in (0, 1, 2)]
    return names, sorted({name for name in names if name.startswith(("file[", "tty["))})


def _stream(pid: int, fd: int, mounts: set[str]) -> str:
    try:
        name = os.readlink(f"/proc/{pid}/fd/{fd}")
        info = os.stat(f"/proc/{pid}/fd/{fd}")
        lines = read_text(f"/proc/{pid}/fdinfo/{fd}").splitlines()
    except OSError:
        return ""  # it has closed it
    mount = next((line.split()[1] for line in lines if line.startswith("mnt_id:")), "")
    if mount in mounts or not name.startswith("/"):
        return name
    if stat.S_ISCHR(info.st_mode) and os.major(info.st_rdev) in _TERMINALS:
        return f"tty[{info.st_rdev:x}:{info.st_dev:x}]"
    return f"file[{int(mount or 0):x}:{info.st_ino:x}]"


_TERMINALS = frozenset((4, 5, *range(136, 144)))  # the kernel's devices.txt: consoles, /dev/tty, pseudo terminals


def save_streams(images: int, names: list[str]) -> None:
    """Write descriptors.json among the images, as runc has it. Raises OSError."""
    fd = os.open(DESCRIPTORS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=images)
    with os.fdopen(fd, "w") as file:
        file.write(jsontext.dumps(names))


def inherited_streams(path: str) -> list[dict[str, str | int]]:
    """Return what criu takes for the standard streams of the images at `path`: ours in place of those that were.
    Raises StorageError.
    """
    try:
        names = jsontext.loads(read_regular(f"{path}/{DESCRIPTORS}", _MOST_OF_DESCRIPTORS))
    except FileNotFoundError:
        return []
    except (OSError, jsontext.JSONError) as error:
        raise StorageError(f"damaged: {path}/{DESCRIPTORS}: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(names, list) or len(names) > 3 or not all(isinstance(name, str) for name in names):
        raise StorageError(f"damaged: {path}/{DESCRIPTORS} does not name three descriptors")
    known = {name: fd for fd, name in enumerate(names) if name.startswith(_STREAM_KINDS)}
    return [{"key": name, "fd": fd} for name, fd in known.items()]
