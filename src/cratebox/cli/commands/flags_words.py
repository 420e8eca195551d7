"""The flags that are kept with a container, and small things about its process and its files."""

from __future__ import annotations

import os

from cratebox.cli.commands.create import FILES, IMAGE, PROCESS, working_directory
from cratebox.cli.options import Flag, Words
from cratebox.engine.config import ContainerConfig, parse_label
from cratebox.engine.environment import read_env_file
from cratebox.engine.words import shown
from cratebox.errors import InvalidValue

FLAGS = (
    Flag("label-file", metavar="FILE", help="read labels, one a line", repeat=True, completes="file", group=IMAGE),
    Flag("annotation", metavar="KEY=VALUE", help="pass a word on to the OCI spec", repeat=True, group=IMAGE),
    Flag("tz", metavar="ZONE|local", help="the time zone, as Europe/Berlin, or this machine's", group=PROCESS),
    Flag("umask", metavar="MODE", help="which permissions its new files do not get, in octal; 0022 otherwise", group=PROCESS),
    Flag("env-host", help="pass on all variables of this command; those of -e and the image count more", group=PROCESS),
    Flag("unsetenv", metavar="NAME", help="leave a variable of the image out", repeat=True, group=PROCESS),
    Flag("init-path", metavar="FILE", help="the program that --init puts before the command", completes="file", group=PROCESS),
    Flag("pidfile", metavar="FILE", help="write the pid of its first process into a file at each start", completes="file", group=PROCESS),
    Flag("volumes-from", metavar="CONTAINER[:ro|rw]", help="have the mounts of another container, at the same places", repeat=True,
         completes="container", group=FILES),
    Flag("volume-driver", metavar="local", help="the driver of volumes: there is one", group=FILES),
)  # fmt: skip


def wished(words: Words, config: ContainerConfig) -> ContainerConfig:
    """Return the config with what the flags say. Raises InvalidValue."""
    files = [read_env_file(path, {}, keep_bare=True, kind="label") for path in words.all("label-file")]
    umask = words.text("umask")
    if words.given("volume-driver"):
        from cratebox.engine.mount_words import check_driver

        check_driver(words.text("volume-driver") or "", "--volume-driver")
    return config.replace(
        labels={**dict(parse_label(line) for lines in files for line in lines), **config.labels},
        annotations=dict(map(_annotation, words.all("annotation"))),
        timezone=words.text("tz") or "",
        umask=None if umask is None else _umask(umask),
        env=(*_of_host(), *config.env) if words.yes("env-host") else config.env,
        unset_env=words.all("unsetenv"),
        init=config.init or words.given("init-path"),
        init_path=_path(words.text("init-path") or ""),
        pidfile=os.path.join(working_directory(), pidfile) if (pidfile := words.text("pidfile")) else "",
        volumes_from=tuple(map(_volumes_from, words.all("volumes-from"))),
    )


def _annotation(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key.strip() or not equals or "\0" in text:
        raise InvalidValue(f"--annotation is KEY=VALUE, not {shown(text)}")
    return key, value


def _umask(text: str) -> int:
    if not text or len(text) > 4 or not set(text) <= set("01234567") or int(text, 8) > 0o777:
        raise InvalidValue(f"--umask is a number in octal from 0 to 0777, not {shown(text)}")
    return int(text, 8)


def _of_host() -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in os.environ.items())


def _path(text: str) -> str:
    if text and not text.startswith("/"):
        raise InvalidValue(f"--init-path is an absolute path, not {shown(text)}")
    return text


def _volumes_from(text: str) -> str:
    name, colon, mode = text.partition(":")
    if not name or (colon and mode not in ("ro", "rw", "z", "Z")):
        raise InvalidValue(f"--volumes-from is CONTAINER, CONTAINER:ro or CONTAINER:rw, not {shown(text)}")
    return name + (":ro" if mode == "ro" else "")
