"""What the container sees of the host's files: the words of -v, --mount and --tmpfs."""

from __future__ import annotations

import os.path

from cratebox.engine.words import shown, size
from cratebox.errors import InvalidValue
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_OPPOSITES = ({"ro", "rw"}, {"exec", "noexec"}, {"suid", "nosuid"}, {"dev", "nodev"}, {"copy", "nocopy"})
BIND_OPTIONS = (*_PROPAGATION, "bind", "rbind", "exec", "noexec", "suid", "nosuid", "dev", "nodev")
# What asks for nothing here: crate puts no SELinux label on a process, so content needs none (z, Z); the others are about
# Docker's virtual machine on other systems.
WITHOUT_MEANING = ("z", "Z", "consistent", "cached", "delegated", "default")
_OF_VOLUME = ("copy", "nocopy")
_TMPFS_FLAGS = (
    "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "atime", "noatime", "diratime", "nodiratime",
    "relatime", "norelatime", "strictatime", "nostrictatime", "sync", "async", "tmpcopyup", "notmpcopyup",
)  # fmt: skip
_TMPFS_SAFE = ("noexec", "nosuid", "nodev")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _LETTERS | frozenset("_.-")
_LONGEST_NAME = 255  # characters: it is that of a directory


class MountWish(Record):
    """A directory, a file, a volume or an empty file system that the container sees at `target` (absolute).

    `kind` is "bind", "volume", "tmpfs" or "image". `make_source`: a missing `source` is made, as a directory (-v does that,
    --mount does not). `options` are mount options in the words of mount(8); for a tmpfs they are complete, Docker's noexec,
    nosuid and nodev among them, and `source` is empty. `chown`: what is there is given to the container's user. `idmap`: the
    IDs of what is there are mapped, "container" as the container's own are, else as the words of idmap= say.

    Of a volume `source` is its name, empty for one that is `anonymous` and not made yet. `copy`: where it is empty it begins
    with what the image has there. `subpath`: a directory or file in it is meant.
    `labels` and `driver_options` are for making it.

    Of an image `source` is what the user calls it, `image` its ID and `layers` their diff IDs,
    from when the container was made.
    """

    kind: str
    source: str
    target: str
    read_only: bool = False
    options: tuple[str, ...] = ()
    make_source: bool = False
    chown: bool = False
    idmap: str = ""
    anonymous: bool = False
    copy: bool = True
    subpath: str = ""
    labels: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    driver_options: dict[str, str] = {}  # noqa: RUF012  as `labels`
    image: str = ""
    layers: tuple[str, ...] = ()


def anonymous_volumes(wishes: Iterable[MountWish]) -> tuple[str, ...]:
    """Return the names of the volumes that nobody has given one: they go with the last container that has them."""
    return tuple(one.source for one in wishes if one.anonymous and one.source)


def check_volume_name(text: str) -> str:
    """Return `text` where it can be a volume's name, by Docker's rule. Raises InvalidValue."""
    if not 1 < len(text) <= _LONGEST_NAME or text[0] not in _LETTERS or not _NAME.issuperset(text):
        hint = f"for a directory write an absolute path, or ./{text}" if "/" in text else None
        raise InvalidValue(
            f"not a name for a volume: {shown(text)}",
            hint or f"2 to {_LONGEST_NAME} letters, digits, _, . and -; the first is a letter or a digit",
        )
    return text


def parse_volume(text: str, cwd: str) -> MountWish:
    """Return the mount of `-v [SOURCE:]TARGET[:OPTION,...]`. A SOURCE that begins with a slash is a path, one with a dot is
    below `cwd`, any other is the name of a volume; without one it is a volume without a name.
    """
    parts = text.split(":")
    if len(parts) == 1 and text:
        return MountWish(kind="volume", source="", target=target_of(text), anonymous=True)
    if len(parts) > 3 or not all(parts):
        raise InvalidValue(f"not a volume: {shown(text)}", "write SOURCE:TARGET or SOURCE:TARGET:ro")
    target, words = target_of(parts[1]), parts[2].split(",") if len(parts) == 3 else []
    if not parts[0].startswith(("/", ".")):
        wish = MountWish(kind="volume", source=check_volume_name(parts[0]), target=target)
    else:
        wish = MountWish(kind="bind", source=bind_source(parts[0], cwd), target=target, make_source=True)
    return with_options(f"-v {shown(text)}", wish, words)


def with_options(what: str, wish: MountWish, given: list[str]) -> MountWish:
    """Return a bind mount or a volume with the options of -v; `what` is named in errors. Raises InvalidValue."""
    options: tuple[str, ...] = wish.options
    for word in given:
        if word in BIND_OPTIONS:
            options = (*options, word)
        elif word == "U":
            wish = wish.replace(chown=True)
        elif word == "idmap" or word.startswith("idmap="):
            wish = wish.replace(idmap=word[6:] or "container")
            if wish.idmap != "container":
                from cratebox.engine.idmap_words import parse

                parse(wish.idmap)
        elif word not in ("ro", "rw", *WITHOUT_MEANING, *(_OF_VOLUME if wish.kind == "volume" else ())):
            raise InvalidValue(
                f"{what}: no such option: {shown(word)}",
                "nocopy makes sense for volumes alone"
                if word in _OF_VOLUME
                else "ro, rw, noexec, nosuid, nodev, rslave, U, idmap, ...",
            )
    contrary = any(pair <= {*given, *options} for pair in _OPPOSITES)
    if contrary or len([word for word in options if word in _PROPAGATION]) > 1 or {"bind", "rbind"} <= set(options):
        raise InvalidValue(f"{what}: the options contradict each other")
    if "ro" in given:
        wish = wish.replace(read_only=True)
    if "nocopy" in given:
        wish = wish.replace(copy=False)
    return wish.replace(options=options) if options else wish


def bind_source(text: str, cwd: str) -> str:
    """Return the absolute path of a source on this machine. Raises InvalidValue."""
    path = text if text.startswith("/") else f"{cwd}/{text}"
    if "\0" in path:
        raise InvalidValue(f"not a path: {shown(text)}")
    return _clean(path)


def target_of(text: str) -> str:
    """Return the path of a mount in the container. Raises InvalidValue."""
    if not text.startswith("/") or "\0" in text:
        raise InvalidValue(f"not a path in the container: {shown(text)}", "it is absolute: begins with /")
    path = _clean(text)
    if path == "/":
        raise InvalidValue("nothing can be mounted at / of the container")
    return path


def _clean(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/")  # normpath keeps two leading slashes


def parse_mount(text: str, cwd: str) -> MountWish:
    """Return the mount of `--mount type=volume|bind|tmpfs|image,source=..,target=..[,readonly]...`, see mount_words.py."""
    from cratebox.engine import mount_words

    return mount_words.parse(text, cwd)


def parse_tmpfs(text: str) -> MountWish:
    """Return the mount of `--tmpfs TARGET[:OPTION,...]`: size=64m, mode=1777, uid=, gid=, ro, exec, ..."""
    target, _, words = text.partition(":")
    return tmpfs(target, words.split(",") if words else [])


def tmpfs(target: str, words: list[str]) -> MountWish:
    """Return an empty file system at `target` with the options of --tmpfs. Raises InvalidValue."""
    options = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals and word in _TMPFS_FLAGS:
            options.append(word)
        else:
            options.append(_tmpfs_value(key, value))
    # Docker's defaults: what is written to a tmpfs is not run, unless `exec` says so.
    defaults = [safe for safe in _TMPFS_SAFE if safe not in options and safe[2:] not in options]
    rest = [word for word in options if word not in ("ro", "rw", "notmpcopyup")]
    return MountWish(kind="tmpfs", source="", target=target_of(target), read_only="ro" in options, options=(*defaults, *rest))


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
