"""What the flags before the verb say, and where this caller's containers are."""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.options import Words


class Caller:
    """Who calls: where state and the log are, who makes cgroups. Filled in while the words are read, for errors need it early.

    `rootless` is None where it is to be found out.
    """

    verb = ""
    root = ""
    log: str | None = None
    log_format: str | None = None  # None: it was not said
    debug = False
    cgroup_manager = "cgroupfs"
    rootless: bool | None = None
    criu = "criu"


def fill_in(words: Words, who: Caller) -> None:
    """Fill in `who` from the words before the verb, the log first. Raises UsageError, StorageError."""
    who.log = words.text("log")
    who.log_format = words.text("log-format") if words.given("log-format") else None
    if words.yes("debug"):
        who.debug = True
        os.environ["CRATE_DEBUG"] = "1"
    who.debug = who.debug or bool(os.environ.get("CRATE_DEBUG"))
    who.cgroup_manager = _cgroup_manager(words)
    who.rootless = {"true": True, "false": False}.get(words.text("rootless") or "")
    who.criu = words.text("criu") or "criu"
    root = words.text("root")
    who.root = _trusted(absolute(root, "--root") if root else default_root())


def absolute(path: str, what: str) -> str:
    """Return the absolute path of what the flag `what` was given.
    Raises InvalidValue where it is relative to a directory that is gone.
    """
    try:
        return path if path.startswith("/") else os.path.abspath(path)
    except FileNotFoundError:
        raise InvalidValue(f"{what} {path}: the working directory is gone", f"{what} takes an absolute path") from None


def _cgroup_manager(words: Words) -> str:
    manager = words.text("cgroup-manager") or ("systemd" if words.yes("systemd-cgroup") else "cgroupfs")
    if words.yes("systemd-cgroup") and manager != "systemd":
        raise words.wrong(f"--systemd-cgroup and --cgroup-manager {manager} contradict each other")
    return manager


def _trusted(root: str) -> str:
    """What lies in a directory of somebody else's would be done with our rights:
    its processes signalled, its cgroups removed.
    """
    from cratebox.paths import private_directory

    if os.path.lexists(root):
        private_directory(root)
    return root


def default_root() -> str:
    """Beside crate's own state: /run/crate-oci. Podman calls `start` and `kill` without --root, so it is always the same.

    A rootless Podman calls from its own user namespace, as that one's root: what counts then is XDG_RUNTIME_DIR, as for runc.
    """
    directory = os.environ.get("XDG_RUNTIME_DIR", "")
    if directory.startswith("/") and not os.environ.get("CRATE_STATE") and os.geteuid() == 0 and _is_rootless():
        return directory + "/crate-oci"
    from cratebox import paths

    return paths.locate().state + "-oci"


def _is_rootless() -> bool:
    """Tell whether this is the root of a user namespace that somebody else than the machine's root has made."""
    from cratebox.linux import userns

    return os.environ.get("USER") != "root" and not userns.is_first()
