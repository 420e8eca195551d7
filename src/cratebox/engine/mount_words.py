"""--mount: a line of CSV that says what a container sees where, in Docker's words and some of Podman's."""

from __future__ import annotations

from cratebox.engine.mounts import BIND_OPTIONS, MountWish, bind_source, check_volume_name, target_of, tmpfs, with_options
from cratebox.engine.words import boolean, shown
from cratebox.errors import InvalidValue, Unsupported

_NAMES = {
    "src": "source", "dst": "target", "destination": "target", "ro": "readonly", "bind-propagation": "propagation",
    "volume-nocopy": "nocopy", "volume-subpath": "subpath", "image-subpath": "subpath", "chown": "U",
}  # fmt: skip
_OPTIONS = tuple(word for word in BIND_OPTIONS if word.removeprefix("no") in ("exec", "suid", "dev"))
_COMMON = ("type", "source", "target", "readonly", "rw", "consistency")
_SHOWN = ("propagation", "U", "idmap", *_OPTIONS)
# What there is for each type, beside what is common.
_KEYS = {
    "bind": (*_SHOWN, "bind-nonrecursive", "bind-recursive", "bind-create-src", "relabel"),
    "volume": (*_SHOWN, "nocopy", "subpath", "volume-label", "volume-driver", "volume-opt"),
    "tmpfs": ("tmpfs-size", "tmpfs-mode", "tmpcopyup", "notmpcopyup", *_OPTIONS),
    "image": ("subpath",),
}
_FLAGS = (
    "readonly",
    "rw",
    "nocopy",
    "U",
    "idmap",
    "bind-nonrecursive",
    "bind-create-src",
    "tmpcopyup",
    "notmpcopyup",
    *_OPTIONS,
)
_SEVERAL = ("volume-label", "volume-opt")
_RECURSIVE = ("enabled", "disabled", "writable", "readonly")


def parse(text: str, cwd: str) -> MountWish:
    """Return the mount that a line asks for. Raises InvalidValue, Unsupported."""
    given: dict[str, str] = {}
    several: dict[str, dict[str, str]] = {name: {} for name in _SEVERAL}
    for field in _fields(text):
        key, equals, value = field.partition("=")
        key = _NAMES.get(key, key)
        if not any(key in keys for keys in (_COMMON, *_KEYS.values())) or not (equals or key in _FLAGS):
            raise InvalidValue(
                f"--mount {shown(text)}: no such field: {shown(field)}", "fields: " + ", ".join(_fields_of(given))
            )
        given[key] = value if equals else "true"
        if key in several:
            name, _, inner = value.partition("=")
            if not name:
                raise InvalidValue(f"--mount {shown(text)}: {key} is KEY=VALUE")
            several[key][name] = inner
    return _mount(text, given, several, cwd)


def _fields_of(given: dict[str, str]) -> tuple[str, ...]:
    return (*_COMMON, *_KEYS.get(given.get("type", "volume"), ()))


def _fields(text: str) -> list[str]:
    if '"' not in text:
        return text.split(",")
    import csv

    try:
        (row,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError):
        raise InvalidValue(f"--mount {shown(text)} is no line of CSV", 'quote a whole field: "source=/a,b",target=/c') from None
    return row


def _mount(text: str, given: dict[str, str], several: dict[str, dict[str, str]], cwd: str) -> MountWish:
    what, kind = f"--mount {shown(text)}", given.get("type", "volume")
    if kind not in _KEYS:
        raise Unsupported(f"{what}: no type {shown(kind)}", "type=volume, type=bind, type=tmpfs or type=image")
    foreign = [key for key in given if key not in (*_COMMON, *_KEYS[kind])]
    if foreign or (kind == "tmpfs" and "source" in given):
        raise InvalidValue(f"{what}: {(foreign or ['source'])[0]} is not for type={kind}")
    for key in ("target", "source")[: 2 if kind in ("bind", "image") else 1]:
        if not given.get(key):
            raise InvalidValue(
                f"{what}: {key} is missing", f"add {key}={'IMAGE' if (kind, key) == ('image', 'source') else '/PATH'}"
            )
    if given.get("consistency", "default") not in ("default", "consistent", "cached", "delegated"):
        raise InvalidValue(f"{what}: consistency is default, consistent, cached or delegated")
    words = [word for word in _OPTIONS if _yes(given, word)]
    words += [word for word, key in (("ro", "readonly"), ("rw", "rw")) if _yes(given, key)]
    if kind == "tmpfs":
        return _tmpfs(given, words)
    if kind == "image":
        return _image(what, given)
    wish = _bind(what, given, cwd) if kind == "bind" else _volume(what, given, several)
    if "ro" in wish.options:
        words.remove("ro")
    if "propagation" in given:
        words.append(given["propagation"])
        if given["propagation"].lstrip("r") not in ("private", "shared", "slave"):
            raise InvalidValue(
                f"no such propagation: {shown(given['propagation'])}", "private, rprivate, shared, rshared, slave, rslave"
            )
    if _yes(given, "U"):
        words.append("U")
    if given.get("idmap", "false") not in ("false", "true"):
        words.append("idmap=" + given["idmap"])
    elif _yes(given, "idmap"):
        words.append("idmap")
    return with_options(what, wish, words)


def _yes(given: dict[str, str], key: str) -> bool:
    return boolean(given.get(key, "false"), f"{key} of --mount")


def _tmpfs(given: dict[str, str], words: list[str]) -> MountWish:
    words += [f"{key[6:]}={given[key]}" for key in ("tmpfs-size", "tmpfs-mode") if key in given]
    words += [key for key in ("tmpcopyup", "notmpcopyup") if _yes(given, key)]
    return tmpfs(given["target"], words)


def _image(what: str, given: dict[str, str]) -> MountWish:
    if _yes(given, "rw") or not boolean(given.get("readonly", "true"), "readonly of --mount"):
        raise Unsupported(f"{what}: an image is mounted to be read", "leave rw out; what is to be written needs a volume")
    return MountWish(
        kind="image",
        source=given["source"],
        target=target_of(given["target"]),
        read_only=True,
        subpath=check_subpath(given["subpath"], "an image") if "subpath" in given else "",
    )


def _bind(what: str, given: dict[str, str], cwd: str) -> MountWish:
    recursive = given.get("bind-recursive", "enabled")
    if recursive not in _RECURSIVE:
        raise InvalidValue(f"{what}: bind-recursive cannot be {shown(recursive)}", f"one of {', '.join(_RECURSIVE)}")
    if given.get("relabel", "shared") not in ("shared", "private"):  # without meaning, as z and Z of -v
        raise InvalidValue(f"{what}: relabel is shared or private")
    if recursive in ("writable", "readonly") and not _yes(given, "readonly"):
        raise InvalidValue(f"{what}: bind-recursive={recursive} is for a mount that is read-only", "add readonly")
    if recursive == "readonly" and given.get("propagation") != "rprivate":
        raise InvalidValue(
            f"{what}: bind-recursive=readonly is for a mount that hears of no others", "add bind-propagation=rprivate"
        )
    wish = MountWish(
        kind="bind",
        source=bind_source(given["source"], cwd),
        target=target_of(given["target"]),
        make_source=_yes(given, "bind-create-src"),
    )
    if _yes(given, "bind-nonrecursive") or recursive == "disabled":
        wish = wish.replace(options=("bind",))
    if recursive == "writable":  # what is mounted below may be written to, as before Linux 5.12
        wish = wish.replace(options=("ro",))
    return wish


def _volume(what: str, given: dict[str, str], several: dict[str, dict[str, str]]) -> MountWish:
    check_driver(given.get("volume-driver", ""), what)
    name = given.get("source", "")
    return MountWish(
        kind="volume",
        source=check_volume_name(name) if name else "",
        target=target_of(given["target"]),
        anonymous=not name,
        copy=not _yes(given, "nocopy"),
        subpath=check_subpath(given["subpath"]) if "subpath" in given else "",
        labels=several["volume-label"],
        driver_options=several["volume-opt"],
    )


def check_driver(name: str, what: str) -> None:
    """Raise Unsupported for a driver of volumes that crate does not have."""
    if name not in ("", "local"):
        raise Unsupported(f"{what}: no driver of volumes {shown(name)}", "crate has one: local")


def check_subpath(text: str, whose: str = "a volume") -> str:
    """Return a path in a volume, or what `whose` says. Raises InvalidValue for one that would lead out of it."""
    if not text or text.startswith("/") or ".." in text.split("/") or "\0" in text:
        raise InvalidValue(f"not a path in {whose}: {shown(text)}", "it is relative and has no ..")
    return text
