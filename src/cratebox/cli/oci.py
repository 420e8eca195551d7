"""crate-oci: the command that Podman, containerd and other engines call to run an OCI bundle. It answers as runc does.

Errors go to standard error, and with --log as exactly one line to that file (Podman reads the whole file as one JSON
object); the exit code is 1. `run` ends with the code of the container's process.
"""

from __future__ import annotations

import os
import sys

from cratebox.cli import options
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.config import parse_signal
from cratebox.errors import CrateError, InvalidValue, NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FAILED = 1

_BUNDLE = Flag("bundle", "b", "DIR", "the directory with config.json (the working directory)", completes="directory")
_DETACHED_FLAGS = (
    _BUNDLE,
    Flag("console-socket", metavar="SOCKET", help="where the terminal's descriptor is sent to", completes="file"),
    Flag("pid-file", metavar="FILE", help="write the pid of the container's process into it", completes="file"),
    Flag("preserve-fds", metavar="N", help="also pass the N descriptors after 2 on", default="0"),
    Flag("no-pivot", help="do not use pivot_root(2): for a root file system in memory"),
    Flag("no-new-keyring", help="keep the caller's session keyring"),
)
_ID = "CONTAINER-ID"
_DONE = (("0", "done"), ("1", "an error: see standard error, and the file of --log"))

COMMANDS = (
    Command(
        name="create",
        arguments=_ID,
        summary="Make a container and stop before its command",
        flags=_DETACHED_FLAGS,
        least=1,
        most=1,
        later=("pidfd-socket",),
        exit_codes=_DONE,
    ),
    Command(name="start", arguments=_ID, summary="Run the command of a created container", least=1, most=1, exit_codes=_DONE),
    Command(
        name="run",
        arguments=_ID,
        summary="create, start, and wait for the end",
        flags=(*_DETACHED_FLAGS, Flag("detach", "d", help="do not wait")),
        least=1,
        most=1,
        later=("keep", "no-subreaper", "pidfd-socket"),
        exit_codes=(
            ("1", "an error of the runtime"),
            ("128+N", "the process died of signal N"),
            ("otherwise", "its exit code"),
        ),
    ),
    Command(name="state", arguments=_ID, summary="Print the state as JSON", least=1, most=1, exit_codes=_DONE),
    Command(
        name="kill",
        arguments=f"{_ID} [SIGNAL]",
        summary="Send a signal (TERM)",
        flags=(Flag("all", "a", help="to every process of the container"),),
        least=1,
        most=2,
        exit_codes=_DONE,
    ),
    Command(
        name="delete",
        arguments=_ID,
        summary="Remove what a stopped container holds",
        flags=(Flag("force", "f", help="kill it first; one that is not there is no error"),),
        least=1,
        most=1,
        exit_codes=_DONE,
    ),
    Command(
        name="list",
        arguments="",
        summary="List containers",
        flags=(
            Flag("format", "f", "FORMAT", "table or json", default="table", words=("table", "json")),
            Flag("quiet", "q", help="print IDs alone"),
        ),
        exit_codes=_DONE,
    ),
)
_LATER = ("checkpoint", "events", "exec", "features", "pause", "ps", "restore", "resume", "spec", "update")

GLOBAL = Command(
    name="",
    arguments="COMMAND [FLAGS] [ARG...]",
    summary="run OCI bundles, with the command line of runc",
    flags=(
        Flag("root", metavar="DIR", help="where state is kept (/run/crate-oci, $XDG_RUNTIME_DIR/crate-oci)"),
        Flag("log", metavar="FILE", help="also append errors to this file"),
        Flag("log-format", metavar="text|json", help="the form of its lines", default="text", words=("text", "json")),
        Flag("debug", help="show where an error comes from"),
        Flag("systemd-cgroup", help="let systemd make cgroups (not there yet)"),
        Flag("version", "v", help="print the version"),
    ),
    most=None,
    stops=True,
    later=("criu", "rootless", "cgroup-manager"),
    exit_codes=_DONE,
)


class _Log:
    """Where an error is told: the file of --log, once it is known."""

    path: str | None = None
    form = "text"
    who = "crate-oci"

    def tell(self, message: str, hint: str | None) -> None:
        """Write one line to the file, and the message to standard error."""
        from cratebox.text import safe

        sys.stderr.write(f"{self.who}: {safe(message)}\n" + (f"  hint: {safe(hint)}\n" if hint else ""))
        if self.path is not None:
            _append(self.path, _json_entry(message) if self.form == "json" else _text_entry(message))


def _now() -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _json_entry(message: str) -> str:
    from cratebox.jsontext import dumps

    return dumps({"level": "error", "msg": message, "time": _now()})


def _text_entry(message: str) -> str:
    from cratebox.jsontext import dumps

    return f'time="{_now()}" level=error msg={dumps(message)}'


def _append(path: str, entry: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, entry.encode() + b"\n")
        finally:
            os.close(fd)
    except OSError as error:
        sys.stderr.write(f"crate-oci: cannot write the log {path}: {error.strerror}\n")


def main(argv: list[str]) -> int:
    """Run `crate-oci` with the words `argv` (without the program's name) and return its exit code."""
    log = _Log()
    try:
        return _dispatch(argv, log)
    except KeyboardInterrupt:
        return 130
    except CrateError as error:
        log.tell(error.message, error.hint)
        trouble: BaseException = error
    except OSError as error:
        name = f"{error.filename}: " if error.filename is not None else ""
        log.tell(f"{name}{error.strerror or error}", None)
        trouble = error
    except Exception as error:  # noqa: BLE001  an engine reads the log and this exit code; a traceback is no answer
        log.tell(f"internal error: {type(error).__name__}: {error}", "crate-oci --debug shows where; please report it")
        trouble = error
    if os.environ.get("CRATE_DEBUG"):
        import traceback

        traceback.print_exception(trouble)
    return _FAILED


def _dispatch(argv: list[str], log: _Log) -> int:
    words = options.parse(GLOBAL, argv, "", "crate-oci")
    log.path, log.form = words.text("log"), words.text("log-format") or "text"
    if words.yes("debug"):
        os.environ["CRATE_DEBUG"] = "1"
    if words.yes("version"):
        return _version()
    verb, *rest = words.arguments or ("help",)
    if words.help or verb == "help":
        return _help(rest[0] if rest else None)
    if words.yes("systemd-cgroup"):
        raise Unsupported("--systemd-cgroup is not there yet", "let the engine use the cgroupfs driver")
    command = _command(verb)
    log.who = f"crate-oci {verb}"
    mine = options.parse(command, rest, verb, "crate-oci")
    if mine.help:
        return _help(verb)
    return _VERBS[verb](mine, _trusted(os.path.abspath(words.text("root") or _default_root())))


def _trusted(root: str) -> str:
    """What lies in a directory of somebody else's would be done with our rights: its processes signalled, its cgroups removed."""
    from cratebox.paths import private_directory

    if os.path.lexists(root):
        private_directory(root)
    return root


def _command(verb: str) -> Command:
    for command in COMMANDS:
        if command.name == verb:
            return command
    if verb in _LATER:
        raise Unsupported(f"the command {verb} is not there yet", "see crate-oci --help")
    raise InvalidValue(f"no such command: {verb}", "see crate-oci --help")


def _default_root() -> str:
    """Beside crate's own state: /run/crate-oci. Podman calls `start` and `kill` without --root, so it is always the same."""
    from cratebox import paths

    return paths.locate().state + "-oci"


def _create(words: Words, root: str) -> int:
    from cratebox.runtime import lifecycle

    lifecycle.create(root, words.arguments[0], _bundle(words), **_settings(words))
    return 0


def _run(words: Words, root: str) -> int:
    from cratebox.runtime import lifecycle

    detach = words.yes("detach")
    return int(lifecycle.run(root, words.arguments[0], _bundle(words), detach=detach, **_settings(words)))


def _bundle(words: Words) -> str:
    return os.path.abspath(words.text("bundle") or ".")


def _settings(words: Words) -> dict[str, Any]:
    return {
        "pid_file": words.text("pid-file"),
        "console_socket": words.text("console-socket"),
        "preserve_fds": words.number("preserve-fds"),
        "no_pivot": words.yes("no-pivot"),
        "no_new_keyring": words.yes("no-new-keyring"),
    }


def _start(words: Words, root: str) -> int:
    from cratebox.runtime import lifecycle

    lifecycle.start(root, words.arguments[0])
    return 0


def _state(words: Words, root: str) -> int:
    from cratebox.runtime import lifecycle

    _print_json(lifecycle.state(root, words.arguments[0]))
    return 0


def _kill(words: Words, root: str) -> int:
    from cratebox.runtime import lifecycle

    identifier, *signal = words.arguments
    lifecycle.kill(root, identifier, parse_signal(signal[0] if signal else "TERM"), all=words.yes("all"))
    return 0


def _delete(words: Words, root: str) -> int:
    from cratebox.runtime import lifecycle

    force = words.yes("force")
    try:
        lifecycle.delete(root, words.arguments[0], force=force)
    except NotFound:
        if not force:
            raise
    return 0


def _list(words: Words, root: str) -> int:
    from cratebox.runtime import lifecycle

    found = lifecycle.list_containers(root)
    if words.yes("quiet"):
        sys.stdout.write("".join(f"{entry['id']}\n" for entry in found))
    elif words.text("format") == "json":
        _print_json(found)
    else:
        from cratebox.cli.render import table

        rows = [[str(entry.get(name, "")) for name in ("id", "pid", "status", "bundle", "created")] for entry in found]
        table([["ID", "PID", "STATUS", "BUNDLE", "CREATED"], *rows])
    return 0


def _print_json(value: Any) -> None:
    """For a person in lines; engines ask often, and get it without the import of `json`."""
    from cratebox.jsontext import dumps

    if sys.stdout.isatty():
        from cratebox.cli.render import json_text

        sys.stdout.write(json_text(value) + "\n")
    else:
        sys.stdout.write(dumps(value) + "\n")


_VERBS: dict[str, Callable[[Words, str], int]] = {
    "create": _create,
    "start": _start,
    "run": _run,
    "state": _state,
    "kill": _kill,
    "delete": _delete,
    "list": _list,
}


def _version() -> int:
    """In runc's form, which callers read line by line."""
    from cratebox.cli.commands.version import crate_version
    from cratebox.runtime.spec import VERSION

    sys.stdout.write(f"crate-oci version {crate_version()}\nspec: {VERSION}\n")
    return 0


def _help(verb: str | None) -> int:
    from cratebox.cli.help import describe, describe_runtime

    text = describe_runtime(GLOBAL, COMMANDS) if verb is None else describe(_command(verb), f"crate-oci {verb}")
    sys.stdout.write(text)
    return 0
