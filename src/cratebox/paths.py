"""Where state lives, with root and without. The only reader of HOME and XDG_*.

| | with root | without |
|---|---|---|
| images, containers, volumes (`root`) | /var/lib/crate | $XDG_DATA_HOME/crate |
| what a reboot forgets (`state`) | /run/crate | $XDG_RUNTIME_DIR/crate, else /tmp/crate-UID |
| settings (`config`) | /etc/crate/config.toml | $XDG_CONFIG_HOME/crate/config.toml |
"""

from __future__ import annotations

import os

from cratebox.errors import StorageError
from cratebox.record import Record


class Paths(Record):
    """The directories of one crate. `root` and `state` are absolute."""

    root: str
    state: str
    config: str

    @property
    def images(self) -> str:
        return self.root + "/images"

    @property
    def containers(self) -> str:
        return self.root + "/containers"

    @property
    def cache(self) -> str:
        """What may be deleted at any time and is made again (compiled seccomp filters)."""
        return self.root + "/cache"

    @property
    def running(self) -> str:
        """The state of the runtime: a directory a container, forgotten by a reboot."""
        return self.state + "/containers"


def locate(root: str | None = None, state: str | None = None) -> Paths:
    """Return where state lives: as given, else by CRATE_ROOT and CRATE_STATE, else the default of this user.

    Makes nothing; `private_directory` does that where something is about to be written.
    """
    environ = os.environ
    root = root or environ.get("CRATE_ROOT") or (_data_home() + "/crate" if os.geteuid() else "/var/lib/crate")
    state = state or environ.get("CRATE_STATE") or (_runtime_dir() if os.geteuid() else "/run/crate")
    config = environ.get("CRATE_CONFIG") or (config_home() + "/crate/config.toml" if os.geteuid() else "/etc/crate/config.toml")
    return Paths(root=os.path.abspath(root), state=os.path.abspath(state), config=config)


def home() -> str:
    """Return the user's home directory: $HOME, else what the user database says, else /."""
    found = os.environ.get("HOME", "")
    if not found.startswith("/"):
        import pwd

        try:
            found = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            found = "/"
    return found.rstrip("/")


def xdg(variable: str, fallback: str) -> str:
    """The specification says that a path in these variables which is not absolute is to be ignored."""
    value = os.environ.get(variable, "")
    return value if value.startswith("/") else home() + fallback


def _data_home() -> str:
    return xdg("XDG_DATA_HOME", "/.local/share")


def config_home() -> str:
    """Return where this user's settings are."""
    return xdg("XDG_CONFIG_HOME", "/.config")


def session_directory(uid: int) -> str:
    """Return where the session of user `uid` has its sockets: $XDG_RUNTIME_DIR, else where systemd makes it."""
    value = os.environ.get("XDG_RUNTIME_DIR", "")
    return value if value.startswith("/") else f"/run/user/{uid}"


def _runtime_dir() -> str:
    """XDG_RUNTIME_DIR may be that of another user (su keeps it): it counts only where it is ours."""
    value = os.environ.get("XDG_RUNTIME_DIR", "")
    if value.startswith("/"):
        try:
            if os.stat(value).st_uid == os.geteuid():
                return value + "/crate"
        except OSError:
            pass
    return f"/tmp/crate-{os.geteuid()}"  # noqa: S108  private_directory refuses it where somebody else made it


def private_directory(path: str) -> str:
    """Make `path` with its parents, mode 0700, where it is not there; return it.

    Raises StorageError where it belongs to somebody else (another user could change it under us), is a symlink, is
    open to others for writing, or cannot be made.
    """
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return _make_private(path)
    except OSError as error:
        raise StorageError(f"cannot use {path}: {error.strerror}") from None
    if info.st_mode & 0o170000 != 0o040000:
        raise StorageError(
            f"cannot use {path}: it is not a directory", "move it away, or choose others with --root and --state"
        )
    if info.st_uid != os.geteuid():
        raise StorageError(
            f"cannot use {path}: it belongs to uid {info.st_uid}, not to you (uid {os.geteuid()})",
            "run crate as that user, or choose other directories with --root and --state",
        )
    if info.st_mode & 0o022:
        raise StorageError(f"cannot use {path}: others can write to it", f"chmod go-w {path}")
    return path


def _make_private(path: str) -> str:
    parent = os.path.dirname(path)
    try:
        if not os.path.isdir(parent):
            os.makedirs(parent, mode=0o755, exist_ok=True)
        os.mkdir(path, 0o700)
    except FileExistsError:
        return private_directory(path)
    except OSError as error:
        raise StorageError(
            f"cannot make {path}: {error.strerror}", "choose other directories with --root and --state"
        ) from None
    return path
