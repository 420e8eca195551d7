"""The words of --pid, --ipc, --uts, --cgroupns and --userns, and what they must be together. Pure; the rules are Docker's."""

from __future__ import annotations

from itertools import pairwise

from cratebox.engine.config import ContainerConfig, Namespaces
from cratebox.engine.words import shown
from cratebox.errors import InvalidValue, Unsupported
from cratebox.linux.userns import IDMap

_KINDS = {
    "pid": ("host", "private", "container"),
    "ipc": ("host", "private", "shareable", "none", "container"),
    "uts": ("host", "private", "container"),
    "cgroup": ("host", "private"),
    "user": ("host", "private", "container", "auto", "keep-id"),
}
_FLAGS = {"cgroup": "--cgroupns", "user": "--userns"}
_MOST_IDS = 2**32


def flag(kind: str) -> str:
    """Return the flag that is about this kind of namespace."""
    return _FLAGS.get(kind, "--" + kind)


def parse(kind: str, text: str) -> str:
    """Return what `text` says of a namespace of this kind, "" for one of the container's own."""
    word, colon, rest = text.partition(":")
    if (
        word not in _KINDS[kind]
        or (colon and word not in {"container", "auto", "keep-id"})
        or (word == "container" and not rest)
    ):
        if word == "nomap":
            why = "its root could not enter your directories, in which its own files are"
            raise Unsupported(
                f"--userns nomap is not there: {why}", "--uidmap 0:1:65536 --uidmap 65536:0:1, or --userns keep-id"
            )
        if text.startswith("ns:") or word == "pod":
            raise Unsupported(f"{flag(kind)} {shown(text)} is not there", _known(kind))
        raise InvalidValue(f"{flag(kind)} cannot be {shown(text)}", _known(kind))
    if kind == "user" and word in {"auto", "keep-id"}:
        options(text)
    return "" if text == "private" and kind != "ipc" else text


def _known(kind: str) -> str:
    return "one of " + ", ".join("container:NAME" if word == "container" else word for word in _KINDS[kind])


def parse_map(flag: str, text: str) -> IDMap:
    """Return what --uidmap or --gidmap CONTAINER:FROM[:AMOUNT] says. Raises InvalidValue, Unsupported."""
    words = text.split(":")
    if any(set(word) & set("+@ug") for word in words[:2]):
        raise Unsupported(
            f"{flag} {shown(text)}: the signs + @ u g are not there", f"{flag} CONTAINER:FROM[:AMOUNT], all of them numbers"
        )
    numbers = [int(word) if word.isascii() and word.isdigit() and len(word) <= 10 else _MOST_IDS for word in words]
    inside, outside, size = (*numbers, 1)[:3] if 2 <= len(numbers) <= 3 else (0, 0, 0)
    if not size or inside + size >= _MOST_IDS or outside + size >= _MOST_IDS:
        raise InvalidValue(f"{flag} {shown(text)} is not CONTAINER:FROM[:AMOUNT]", "three numbers of IDs, as 0:1:1000")
    return IDMap(inside, outside, size)


def mapped(uids: tuple[IDMap, ...], gids: tuple[IDMap, ...]) -> Namespaces:
    """Return the user namespace that --uidmap and --gidmap ask for; where only one is given, it is for both.
    Raises InvalidValue.
    """
    uids, gids = (tuple(sorted(one, key=lambda each: each.inside)) for one in (uids or gids, gids or uids))
    for name, maps in (("--uidmap", uids), ("--gidmap", gids)):
        if maps[0].inside:
            raise InvalidValue(f"{name}: the container's root, 0, is not in it", f"begin with {name} 0:FROM:AMOUNT")
        for key in ("inside", "outside"):
            ordered = sorted((getattr(one, key), one.size) for one in maps)
            if any(first + size > following for (first, size), (following, _) in pairwise(ordered)):
                raise InvalidValue(f"{name}: two of its ranges overlap")
    return Namespaces(user="map", uid_map=uids, gid_map=gids)


def options(text: str) -> dict[str, int]:
    """Return the numbers of auto:size=N or keep-id:uid=N,gid=N. Raises InvalidValue."""
    word, _, rest = text.partition(":")
    known = {"auto": ("size",), "keep-id": ("uid", "gid")}[word]
    found = {}
    for part in rest.split(",") if rest else ():
        key, _, value = part.partition("=")
        if key not in known or not (value.isascii() and value.isdigit()) or len(value) > 10 or int(value) >= _MOST_IDS:
            raise InvalidValue(f"--userns {shown(text)}: {shown(part)} is none of its options", f"{word}:{known[0]}=N")
        found[key] = int(value)
    if found.get("size") == 0:
        raise InvalidValue("--userns auto needs at least one ID")
    return found


def check(config: ContainerConfig) -> None:
    """Raise InvalidValue for namespaces that contradict something else which was asked for."""
    wanted = config.namespaces
    if wanted.uts and (config.hostname or config.domainname):
        raise InvalidValue(
            f"--{'hostname' if config.hostname else 'domainname'} would rename {_owner(wanted.uts)} with --uts {wanted.uts}",
            "leave one of them out",
        )
    if config.privileged and wanted.user:
        raise InvalidValue("--privileged means nothing in a user namespace", "leave out --userns")
    if wanted.ipc == "none" and config.shm_size:
        raise InvalidValue("--shm-size is the size of /dev/shm, which --ipc none leaves out")
    if config.shm_size and _shared(wanted.ipc):
        raise InvalidValue(f"--shm-size: with --ipc {wanted.ipc} /dev/shm is that of {_owner(wanted.ipc)}")
    if wanted.user and wanted.user != "host":
        words = {"pid": wanted.pid, "ipc": wanted.ipc, "uts": wanted.uts}
        if config.network != "host":
            words["network"] = config.network
        for kind, word in words.items():
            if _shared(word) and wanted.user != word:
                raise InvalidValue(
                    f"{flag(kind)} {word} and --userns {wanted.user} do not go together",
                    "nobody has rights over namespaces of another user namespace",
                )
    _check_sysctl(config, wanted)


def _shared(word: str) -> bool:
    return word == "host" or word.startswith("container:")


def _owner(word: str) -> str:
    return "this machine" if word == "host" else "the other container"


def _check_sysctl(config: ContainerConfig, wanted: Namespaces) -> None:
    from cratebox.runtime import sysctl

    own = set() if _shared(config.network) else {"network"}
    own |= {kind for kind in ("ipc", "uts") if not _shared(getattr(wanted, kind))}
    for name in config.sysctl:
        kind = sysctl.namespace_of(name)
        if kind is None:
            raise InvalidValue(f"--sysctl {shown(name)} belongs to no namespace: it would change this machine")
        if kind not in own:
            raise InvalidValue(
                f"--sysctl {shown(name)} would change this machine, whose {kind} namespace the container has",
                "--network none gives it one of its own" if kind == "network" else f"leave out {flag(kind)}",
            )


def parse_sysctl(text: str) -> tuple[str, str]:
    """Return name and value of --sysctl NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not name or not value.isprintable():
        raise InvalidValue(f"--sysctl is NAME=VALUE, not {shown(text)}", "as net.ipv4.ip_forward=1")
    return name, value
