"""`--change` of commit and import: the instructions of a Dockerfile that say how an image is run, applied to an image's config.

The words are those of moby's builder (dockerfile/parser, "Dockerfile reference"): a JSON list or words for a shell, $VARIABLES
of the environment in some of them, a backslash at a line's end goes on with the next. Pure.
"""

from __future__ import annotations

import json
import re
import shlex

from cratebox.engine.signals import parse as parse_signal
from cratebox.engine.words import duration, number, shown
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Config = dict[str, Any]

_SHELL = ["/bin/sh", "-c"]
_VARIABLE = re.compile(r"\\(.)|\$(?:(\w+)|\{(\w+)(?::([-+])([^}]*))?\})")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_HEALTH_FLAGS = {
    "interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval",
    "retries": "Retries",
}  # fmt: skip


def apply(config: Config, changes: Iterable[str]) -> Config:
    """Return an image's `config` ("config" of its document) after these instructions. Raises InvalidValue."""
    config, seen = dict(config), set()
    for text in changes:
        for line in text.replace("\\\n", "").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                word = _apply(config, line.strip())
                if word == "ENTRYPOINT" and "CMD" not in seen:
                    config["Cmd"] = None  # it belonged to the entry point before
                seen.add(word)
    return config


def _apply(config: Config, line: str) -> str:
    """Apply one instruction; return its word."""
    word, _, rest = line.partition(" ")
    instruction = _INSTRUCTIONS.get(word.upper())
    if instruction is None:
        known = ", ".join(sorted(_INSTRUCTIONS))
        raise InvalidValue(f"--change {shown(line)}: {shown(word)} is no instruction that --change takes", known)
    rest = rest.strip()
    if not rest:
        raise InvalidValue(f"--change {shown(line)}: {word.upper()} wants a value")
    instruction(config, rest)
    return word.upper()


def _expanded(config: Config, text: str) -> str:
    """Return `text` with the variables of the image's environment; one that is not there is empty."""
    environment = dict(entry.partition("=")[::2] for entry in config.get("Env") or [])

    def value(match: re.Match[str]) -> str:
        escaped, plain, braced, how, other = match.groups()
        if escaped is not None:
            return escaped if escaped == "$" else match[0]
        found = environment.get(plain or braced, "")
        if how == "-":
            return found or other
        return (other if found else "") if how == "+" else found

    return _VARIABLE.sub(value, text)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidValue(f"--change {shown(text)}: {str(error).lower()}") from None


def _listed(text: str) -> list[str] | None:
    """Return the words of a JSON list of texts, None for anything else."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if all(isinstance(word, str) for word in found) else None


def _command(config: Config, text: str) -> list[str]:
    listed = _listed(text)
    return listed if listed is not None else [*(config.get("Shell") or _SHELL), text]


def _cmd(config: Config, text: str) -> None:
    config["Cmd"] = _command(config, text)


def _entrypoint(config: Config, text: str) -> None:
    config["Entrypoint"] = _command(config, text)


def _pairs(config: Config, text: str, what: str) -> list[tuple[str, str]]:
    """Return the pairs of `KEY=VALUE...`, or of the old form `KEY VALUE`."""
    first = text.split(None, 1)
    if "=" not in first[0]:
        if len(first) < 2:
            raise InvalidValue(f"--change {what} {shown(text)}: there is no value", f"{what} KEY=VALUE")
        return [(first[0], _expanded(config, first[1]))]
    pairs = [word.partition("=") for word in _words(_expanded(config, text))]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise InvalidValue(f"--change {what} {shown(text)}: {shown(key)} has no value", f"{what} KEY=VALUE")
    return [(key, value) for key, _, value in pairs]


def _env(config: Config, text: str) -> None:
    pairs = dict(_pairs(config, text, "ENV"))
    kept = [entry for entry in config.get("Env") or [] if entry.partition("=")[0] not in pairs]
    config["Env"] = [*kept, *(f"{key}={value}" for key, value in pairs.items())]


def _label(config: Config, text: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs(config, text, "LABEL"))}


def _expose(config: Config, text: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in _words(_expanded(config, text)):
        match = _PORT.fullmatch(word)
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else 0
        if match is None or not 0 < first <= last < 1 << 16:
            raise InvalidValue(f"--change EXPOSE {shown(word)}: not a port", "80, 80/tcp, 53/udp or 8000-8010")
        ports |= {f"{port}/{(match[3] or 'tcp').lower()}": {} for port in range(first, last + 1)}
    config["ExposedPorts"] = ports


def _user(config: Config, text: str) -> None:
    config["User"] = _expanded(config, text)


def _volume(config: Config, text: str) -> None:
    listed = _listed(text)
    paths = [_expanded(config, path) for path in listed] if listed is not None else _words(_expanded(config, text))
    if not all(paths):
        raise InvalidValue(f"--change VOLUME {shown(text)}: an empty path", 'VOLUME /data or VOLUME ["/data"]')
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _workdir(config: Config, text: str) -> None:
    """One that is not absolute is below the one before."""
    import posixpath

    before = config.get("WorkingDir") or "/"
    config["WorkingDir"] = posixpath.normpath(posixpath.join(before, _expanded(config, text)))


def _stopsignal(config: Config, text: str) -> None:
    signal = _expanded(config, text)
    parse_signal(signal)
    config["StopSignal"] = signal


def _onbuild(config: Config, text: str) -> None:
    word = text.split(None, 1)[0].upper()
    if word in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidValue(f"--change ONBUILD {shown(text)}: {word} is not allowed there")
    config["OnBuild"] = [*(config.get("OnBuild") or []), text]


def _healthcheck(config: Config, text: str) -> None:
    """HEALTHCHECK NONE, or [--interval=30s ...] CMD COMMAND."""
    health: dict[str, Any] = {}
    while text.startswith("--"):
        flag, _, text = text.partition(" ")
        name, _, value = flag[2:].partition("=")
        if name not in _HEALTH_FLAGS:
            raise InvalidValue(
                f"--change HEALTHCHECK: no such flag: {shown(flag)}", ", ".join(f"--{one}" for one in _HEALTH_FLAGS)
            )
        health[_HEALTH_FLAGS[name]] = _health_value(name, value)
        text = text.lstrip()
    kind, _, command = text.partition(" ")
    command = command.strip()
    if kind.upper() == "NONE" and not command and not health:
        health["Test"] = ["NONE"]
    elif kind.upper() == "CMD" and command:
        listed = _listed(command)
        health["Test"] = ["CMD", *listed] if listed else ["CMD-SHELL", command]
    else:
        raise InvalidValue(f"--change HEALTHCHECK {shown(text)}: neither NONE nor CMD COMMAND")
    config["Healthcheck"] = health


def _health_value(name: str, value: str) -> int:
    """Return a count, or nanoseconds."""
    what = f"--change HEALTHCHECK --{name}"
    return number(value, what) if name == "retries" else int(duration(value, what) * 10**9)


_INSTRUCTIONS: dict[str, Callable[[Config, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
