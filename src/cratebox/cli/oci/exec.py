"""crate-oci exec."""

from __future__ import annotations

from cratebox.cli.oci.words import CONSOLE_SOCKET, ID, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.words import number
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller
    from cratebox.runtime.spec import Process, User

_OF_PROCESS = ("cwd", "env", "user", "additional-gids", "process-label", "apparmor", "no-new-privs", "cap")
_ID_MAX = 2**32 - 2
_MOST = 16 << 20  # bytes of a process document
COMMAND = Command(
    name="exec",
    arguments=f"{ID} [COMMAND [ARG...]]",
    summary="Run another process in a container",
    flags=(
        Flag("process", "p", "FILE", "read the process, as in a spec, from this JSON file", completes="file"),
        Flag("cwd", metavar="DIR", help="its working directory"),
        Flag("env", "e", "NAME=VALUE", "another variable", repeat=True),
        Flag("tty", "t", help="with a terminal"),
        Flag("user", "u", "UID[:GID]", "who runs it"),
        Flag("additional-gids", "g", "GID", "another group", repeat=True),
        Flag("cap", "c", "CAP_NAME", "another capability", repeat=True),
        Flag("no-new-privs", help="no program gains privileges by executing another"),
        Flag("apparmor", metavar="PROFILE", help="its AppArmor profile"),
        Flag("process-label", metavar="LABEL", help="its SELinux label"),
        Flag("detach", "d", help="do not wait"),
        CONSOLE_SOCKET,
        PID_FILE.replace(help="write the pid of the process into it"),
        PIDFD_SOCKET,
        PRESERVE_FDS,
        Flag(
            "cgroup",
            metavar="[CONTROLLER[,...]:]PATH",
            help="a cgroup below the container's, which is there already",
            repeat=True,
        ),
        Flag("ignore-paused", help="also in a paused container: it runs when that is resumed"),
        Flag("no-subreaper", help="adopt no processes that it orphans: crate-oci never does"),
    ),
    least=1,
    most=None,
    stops=True,
    completes="container",
    description="Run a command in a container that is created or runs. What is not said is as for the container's own process.",
    examples=(
        ("crate-oci exec -t box sh", "a shell"),
        ("crate-oci exec --process process.json --detach --pid-file pid box", "as engines do it"),
    ),
    exit_codes=(
        ("255", "it could not be run"),
        ("128+N", "the process died of signal N"),
        ("otherwise", "its exit code; with --detach 0"),
    ),
)


def main(words: Words, who: Caller) -> int:
    """Run it."""
    from cratebox.runtime import lifecycle

    name, *command = words.arguments
    if command[:1] == ["--"]:
        del command[0]
    path = words.text("process")
    wanted = _read(path, words, command) if path else _of_flags(lifecycle.own_process(who.root, name), words, command)
    settings = {
        "pid_file": words.text("pid-file"),
        "pidfd_socket": words.text("pidfd-socket"),
        "console_socket": words.text("console-socket"),
        "detach": words.yes("detach"),
        "tty": words.yes("tty"),
        "preserve_fds": words.number("preserve-fds"),
        "cgroup": _cgroup(words.all("cgroup")),
        "ignore_paused": words.yes("ignore-paused"),
    }
    return int(lifecycle.execute(who.root, name, wanted, **settings))


def _cgroup(given: tuple[str, ...]) -> dict[str, str]:
    """Return the paths by controller, "" for all; several controllers of one path have commas between. Raises InvalidValue."""
    found: dict[str, str] = {}
    for one in given:
        controllers, colon, path = one.partition(":")
        if not colon and len(given) > 1:
            raise InvalidValue(f"--cgroup {one}: beside another it must be CONTROLLER:PATH")
        for controller in controllers.split(",") if colon else ("",):
            if colon and not controller:
                raise InvalidValue(f"--cgroup {one}: a controller is missing")
            if controller in found:
                raise InvalidValue(f"--cgroup {one}: the controller {controller} has a path already")
            found[controller] = path if colon else one
    return found


def _read(path: str, words: Words, command: list[str]) -> Process:
    """Return the process in the file `path`. Raises InvalidValue, UsageError."""
    from cratebox import jsontext
    from cratebox.linux.regular import read_regular
    from cratebox.runtime import spec

    more = [f"--{flag}" for flag in _OF_PROCESS if words.given(flag)] + command
    if more:
        raise words.wrong(f"--process says all about the process: {more[0]} cannot be added")
    try:
        return spec.decode_process(jsontext.loads(read_regular(path, _MOST, pipe=True)))
    except OSError as error:
        raise InvalidValue(f"cannot read {path}: {(error.strerror or '').lower()}") from None
    except jsontext.JSONError as error:
        raise InvalidValue(f"{path}: {error}") from None


def _of_flags(own: Process, words: Words, command: list[str]) -> Process:
    """Return the container's own process with what the flags change. Raises InvalidValue, UsageError."""
    if not command:
        raise words.wrong("a COMMAND is missing", "or --process FILE")
    return own.replace(
        args=tuple(command),
        cwd=words.text("cwd") or own.cwd,
        env=(*own.env, *words.all("env")),
        terminal=False,  # as said by --tty, beside which it stands
        user=_user(own.user, words),
        capabilities=_capabilities(own, words.all("cap")),
        no_new_privileges=words.yes("no-new-privs") if words.given("no-new-privs") else own.no_new_privileges,
        apparmor_profile=words.text("apparmor") or own.apparmor_profile,
        selinux_label=words.text("process-label") or own.selinux_label,
    )


def _user(own: User, words: Words) -> User:
    user = own
    if wanted := words.text("user"):
        uid, colon, gid = wanted.partition(":")
        user = user.replace(uid=_id(uid, "--user"), **({"gid": _id(gid, "--user")} if colon else {}))
    more = tuple(_id(gid, "--additional-gids") for gid in words.all("additional-gids"))
    return user.replace(additional_gids=(*user.additional_gids, *more)) if more else user


def _id(text: str, flag: str) -> int:
    found = number(text, flag)
    if found > _ID_MAX:
        raise InvalidValue(f"{flag} {text} is no ID", f"at most {_ID_MAX}")
    return found


def _capabilities(own: Process, more: tuple[str, ...]) -> object:
    if not more:
        return own.capabilities
    from cratebox.runtime.spec import Capabilities

    have = own.capabilities or Capabilities()
    return have.replace(**{kind: (*getattr(have, kind), *more) for kind in ("bounding", "effective", "permitted")})
