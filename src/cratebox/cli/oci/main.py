"""crate-oci: the command that Podman, containerd and other engines call to run an OCI bundle. It answers as runc does.

    crate-oci --root DIR --log FILE create --bundle DIR ID
              globals               verb   flags, arguments

A verb is a module of this package, imported when it is asked for and no other. Errors go to standard error, and with --log as
exactly one line to that file (Podman reads the whole file as one JSON object); the exit code is 1, 255 for `exec`. `run` and
`exec` end with the code of the container's process.
"""

from __future__ import annotations

import sys

from cratebox.cli import options
from cratebox.cli.oci.caller import Caller, fill_in
from cratebox.cli.options import Command, Flag
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FAILED = 1
_EXEC_FAILED = 255  # what callers tell from the codes of a process that ran

VERBS = (
    "create", "start", "run", "exec", "state", "list", "ps", "kill", "pause", "resume", "update", "events", "delete",
    "spec", "features", "checkpoint", "restore", "completion",
)  # fmt: skip

GLOBAL = Command(
    name="",
    arguments="COMMAND [FLAGS] [ARG...]",
    summary="run OCI bundles, with the command line of runc",
    flags=(
        Flag(
            "root",
            metavar="DIR",
            help="where state is kept (/run/crate-oci, $XDG_RUNTIME_DIR/crate-oci)",
            completes="directory",
        ),
        Flag("log", metavar="FILE", help="also append errors to this file", completes="file"),
        Flag("log-format", metavar="text|json", help="the form of its lines", default="text", words=("text", "json")),
        Flag("debug", help="show where an error comes from"),
        Flag("systemd-cgroup", help="let systemd make cgroups; as --cgroup-manager systemd"),
        Flag(
            "cgroup-manager",
            metavar="MANAGER",
            help="who makes cgroups: cgroupfs (crate-oci itself), systemd, or disabled (nobody)",
            words=("cgroupfs", "systemd", "disabled"),
        ),
        Flag(
            "rootless",
            metavar="auto|true|false",
            help="whether to do without what only root may do with cgroups; auto: where this is not the machine's root",
            default="auto",
            words=("auto", "true", "false"),
        ),
        Flag("criu", metavar="PROGRAM", help="the criu to checkpoint and restore with", default="criu", completes="file"),
        Flag("version", "v", help="print the version"),
    ),
    most=None,
    stops=True,
    examples=(
        ("crate-oci spec --bundle DIR", "write a config.json to begin with; the files belong into DIR/rootfs"),
        ("crate-oci run --bundle DIR box", "run it"),
        ("podman --runtime $(command -v crate-oci) run alpine true", "under Podman"),
        ("dockerd --add-runtime crate=$(command -v crate-oci)", "for docker run --runtime crate"),
    ),
    exit_codes=(
        ("0", "done"),
        ("1", "an error: see standard error, and the file of --log"),
        ("otherwise", "see the command's own page"),
    ),
)


def main(argv: list[str]) -> int:
    """Run `crate-oci` with the words `argv` (without the program's name) and return its exit code."""
    who = Caller()
    try:
        return _dispatch(argv, who)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001  an engine reads the log and this exit code; a traceback is no answer
        return _failed(error, who)


def _failed(error: Exception, who: Caller) -> int:
    from cratebox.cli.oci import log

    log.tell(error, who)
    return _EXEC_FAILED if who.verb == "exec" else _FAILED


def _dispatch(argv: list[str], who: Caller) -> int:
    words = options.parse(GLOBAL, argv, "", "crate-oci")
    fill_in(words, who)
    if words.yes("version"):
        return _version()
    verb, *rest = words.arguments or ("help",)
    if words.help or verb in ("help", "h"):
        return _help(rest[0] if rest else None)
    module = load(verb)
    who.verb = verb
    mine = options.parse(module.COMMAND, rest, verb, "crate-oci")
    if mine.help:
        return _help(verb)
    return int(module.main(mine, who))


def load(verb: str) -> Any:
    """Import the module of a verb. Raises InvalidValue."""
    if verb in VERBS:
        return __import__(f"cratebox.cli.oci.{verb}", fromlist=["COMMAND"])
    raise InvalidValue(f"no such command: {verb}", "see crate-oci --help")


def commands() -> tuple[Command, ...]:
    """Return the tables of all verbs, for the help and for completion."""
    return tuple(load(verb).COMMAND for verb in VERBS)


def _version() -> int:
    """In runc's form, which callers read line by line."""
    from cratebox.cli.commands.version import crate_version
    from cratebox.runtime.spec import VERSION

    sys.stdout.write(f"crate-oci version {crate_version()}\nspec: {VERSION}\n")
    return 0


def _help(verb: str | None) -> int:
    from cratebox.cli.help import describe, describe_runtime

    text = describe_runtime(GLOBAL, commands()) if verb is None else describe(load(verb).COMMAND, f"crate-oci {verb}")
    sys.stdout.write(text)
    return 0
