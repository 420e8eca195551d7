"""The user's wish for a container, and the parsers that read it from Docker's words.

The parsers are pure: what they need of the host (the working directory, the environment) is handed in. Each raises
InvalidValue for what is wrong, Unsupported for what Docker has and crate does not do yet.
"""

from __future__ import annotations

from cratebox.engine.mounts import MountWish, parse_mount, parse_tmpfs, parse_volume
from cratebox.engine.signals import parse as parse_signal
from cratebox.engine.words import boolean, shown
from cratebox.engine.words import size as parse_size
from cratebox.errors import InvalidValue, Unsupported
from cratebox.linux.caps import NAMES as CAPABILITIES
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "ContainerConfig", "MountWish", "Ulimit", "check_capability", "check_hostname", "check_name", "check_network",
    "parse_detach_keys", "parse_env", "parse_env_file", "parse_label", "parse_mount", "parse_security_opt", "parse_signal",
    "parse_size", "parse_tmpfs", "parse_ulimit", "parse_volume", "read_env_file",
]  # fmt: skip

NETWORKS = ("none", "host")
ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack",
)  # fmt: skip
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _LETTERS | frozenset("_.-")
_ENV_FILE_LIMIT = 1 << 20


class Ulimit(Record):
    """A limit of setrlimit(2); -1 is unlimited. Sizes are in bytes, times in seconds (rttime: microseconds)."""

    name: str
    soft: int
    hard: int


class ContainerConfig(Record):
    """What the user asked for; what was not said is None or empty and comes from the image.

    `env`: KEY=VALUE, later ones win. `entrypoint`: () runs the command alone. `seccomp`: "default", "unconfined" or the
    absolute path of a profile. `stop_timeout`: seconds.
    """

    image: str
    command: tuple[str, ...] = ()
    name: str | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_dir: str | None = None
    user: str | None = None
    hostname: str | None = None
    labels: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    tty: bool = False
    interactive: bool = False
    remove: bool = False
    read_only: bool = False
    mounts: tuple[MountWish, ...] = ()
    network: str = "host"
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    no_new_privileges: bool = False
    seccomp: str = "default"
    ulimits: tuple[Ulimit, ...] = ()
    init: bool = False
    platform: str | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None


def check_name(text: str) -> str:
    """Return `text` where it can be a container's name: [a-zA-Z0-9][a-zA-Z0-9_.-]+, at most 128 characters."""
    if len(text) < 2 or len(text) > 128 or text[0] not in _LETTERS or not _NAME.issuperset(text):
        raise InvalidValue(
            f"not a name for a container: {shown(text)}",
            "2 to 128 letters, digits, _, . and -; the first is a letter or a digit",
        )
    return text


def check_hostname(text: str) -> str:
    """Return `text` where sethostname(2) and RFC 1123 allow it; underscores are let through, for people use them."""
    labels = text.split(".")
    if len(text) > 64 or not all(_is_label(label) for label in labels):
        raise InvalidValue(
            f"not a host name: {shown(text)}", "at most 64 letters, digits, - and . (no - or . at the ends, no .. inside)"
        )
    return text


def _is_label(label: str) -> bool:
    return 0 < len(label) < 64 and _NAME.issuperset(label) and label[0] != "-" and label[-1] != "-"


def check_network(text: str) -> str:
    """Return `text` where it is a network that crate has."""
    if text in NETWORKS:
        return text
    raise Unsupported(f"no network {shown(text)}: networks are not there yet", "--network host (the default) or --network none")


def check_capability(text: str) -> str:
    """Return the full name (CAP_NET_ADMIN, or ALL) of a capability written with or without CAP_, in any case."""
    name = text.upper()
    if name in ("ALL", "CAP_ALL"):
        return "ALL"
    name = name if name.startswith("CAP_") else "CAP_" + name
    if name not in CAPABILITIES:
        raise InvalidValue(f"no such capability: {shown(text)}", _nearest(name, CAPABILITIES) or "capabilities(7) lists them")
    return name


def _nearest(word: str, known: Iterable[str]) -> str | None:
    import difflib

    found = difflib.get_close_matches(word, list(known), 2)
    return f"did you mean {' or '.join(found)}?" if found else None


def parse_env(text: str, host: Mapping[str, str]) -> str | None:
    """Return KEY=VALUE for `-e text`; KEY alone takes the value of `host`, and None is returned where that has none."""
    key, equals, _ = text.partition("=")
    if not key or "\0" in text:
        raise InvalidValue(f"not an environment variable: {shown(text)}", "write KEY=VALUE, or KEY for the value it has here")
    if equals:
        return text
    return f"{key}={host[key]}" if key in host else None


def read_env_file(path: str, host: Mapping[str, str]) -> tuple[str, ...]:
    """Return the KEY=VALUE lines of an --env-file (`parse_env_file`). Raises InvalidValue, also where it cannot be read."""
    try:
        with open(path, "rb") as file:
            raw = file.read(_ENV_FILE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidValue(f"cannot read the environment file {shown(path)}: {reason}") from None
    if len(raw) > _ENV_FILE_LIMIT:
        raise InvalidValue(f"the environment file {shown(path)} is larger than 1 MiB")
    return parse_env_file(raw, path, host)


def parse_env_file(raw: bytes, path: str, host: Mapping[str, str]) -> tuple[str, ...]:
    """Read the lines of an --env-file by Docker's rules: `path` is for messages.

    A line is KEY=VALUE, or KEY for the host's value; what stands after = is taken as it is, quotes and trailing space
    included. Empty lines and those that begin with # do not count, nor does a byte order mark.
    """
    found = []
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        where = f"{shown(path)}, line {number}"
        try:
            text = line.removesuffix(b"\r").decode("utf-8").lstrip()
        except UnicodeDecodeError:
            raise InvalidValue(f"{where} is not UTF-8") from None
        if not text or text.startswith("#"):
            continue
        key = text.partition("=")[0]
        if not key or "\0" in text or any(character.isspace() for character in key):
            why = "a NUL byte" if "\0" in text else "a space in the variable's name" if key else "no name before ="
            raise InvalidValue(f"{where}: {why}: {shown(text)}", "write KEY=VALUE; there is no `export` here")
        variable = parse_env(text, host)
        if variable is not None:
            found.append(variable)
    return tuple(found)


def parse_label(text: str) -> tuple[str, str]:
    """Return key and value of `--label KEY[=VALUE]`."""
    key, _, value = text.partition("=")
    if not key.strip():
        raise InvalidValue(f"not a label: {shown(text)}", "write KEY=VALUE")
    return key, value


def parse_ulimit(text: str) -> Ulimit:
    """Return the limit of `--ulimit NAME=SOFT[:HARD]`; -1 or `unlimited` is no limit."""
    name, equals, values = text.partition("=")
    if name not in ULIMITS:
        raise InvalidValue(f"no such limit: {shown(name)}", _nearest(name, ULIMITS) or "one of " + ", ".join(ULIMITS))
    soft, colon, hard = values.partition(":")
    limit = Ulimit(name=name, soft=_limit(text, soft), hard=_limit(text, hard if colon else soft))
    if not equals or (limit.hard != -1 and not -1 < limit.soft <= limit.hard):
        raise InvalidValue(f"not a limit: {shown(text)}: the soft limit is above the hard one", "write NAME=SOFT:HARD")
    return limit


def _limit(text: str, word: str) -> int:
    if word in ("-1", "unlimited"):
        return -1
    if not (word.isascii() and word.isdigit()) or int(word) >= 1 << 63:
        raise InvalidValue(f"not a limit: {shown(text)}: {shown(word)} is no number", "write NAME=SOFT[:HARD], -1 for no limit")
    return int(word)


def parse_security_opt(texts: Iterable[str], cwd: str) -> tuple[bool, str]:
    """Return (no_new_privileges, seccomp) of all --security-opt words; a profile's path is made absolute from `cwd`.

    `label=disable` and `apparmor=unconfined` are what crate does anyway, so they are let through.
    """
    no_new_privileges, seccomp = False, "default"
    for text in texts:
        key, separator, value = text.partition("=" if "=" in text else ":")
        if key == "no-new-privileges":
            no_new_privileges = boolean(value, "--security-opt no-new-privileges") if separator else True
        elif key == "seccomp" and value:
            seccomp = _seccomp(value, cwd)
        elif (key, value) not in (("label", "disable"), ("apparmor", "unconfined")):
            raise Unsupported(
                f"no such security option: {shown(text)}", "no-new-privileges, seccomp=unconfined or seccomp=FILE"
            )
    return no_new_privileges, seccomp


def _seccomp(value: str, cwd: str) -> str:
    if value in ("default", "builtin"):
        return "default"
    return value if value == "unconfined" or value.startswith("/") else f"{cwd}/{value}"


def parse_detach_keys(text: str) -> bytes:
    """Return the bytes that `--detach-keys` names: single characters and ctrl-X, joined by commas; empty for none at all."""
    return bytes(_key(text, word) for word in text.split(",")) if text else b""


def _key(text: str, word: str) -> int:
    if len(word) == 1 and word.isascii():
        return ord(word)
    control = word[5:].upper()
    if word.startswith("ctrl-") and len(control) == 1 and "@" <= control <= "_":
        return ord(control) & 0x1F
    raise InvalidValue(f"not detach keys: {shown(text)}", "letters and ctrl-LETTER, joined by commas: ctrl-p,ctrl-q")
