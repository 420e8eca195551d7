"""What several verbs share: the flags of whoever makes a container, and how results are printed."""

from __future__ import annotations

import sys

from cratebox.cli.oci.caller import absolute
from cratebox.cli.options import Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.cli.oci.caller import Caller

ID = "CONTAINER-ID"
DONE = (("0", "done"), ("1", "an error: see standard error, and the file of --log"))

BUNDLE = Flag("bundle", "b", "DIR", "the directory with config.json (the working directory)", completes="directory")
CONSOLE_SOCKET = Flag("console-socket", metavar="SOCKET", help="where the terminal's descriptor is sent to", completes="file")
PID_FILE = Flag("pid-file", metavar="FILE", help="write the pid of the container's process into it", completes="file")
PIDFD_SOCKET = Flag("pidfd-socket", metavar="SOCKET", help="where a pidfd of the process is sent to", completes="file")
PRESERVE_FDS = Flag("preserve-fds", metavar="N", help="also pass the N descriptors after 2 on", default="0")
CREATION = (
    BUNDLE,
    Flag("config", "f", "FILE", "read the spec from FILE and not from config.json of the bundle", completes="file"),
    CONSOLE_SOCKET,
    PID_FILE,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    Flag("no-pivot", help="do not use pivot_root(2): for a root file system in memory"),
    Flag("no-new-keyring", help="keep the caller's session keyring"),
)


def bundle_of(words: Words) -> str:
    """Return the absolute path of the bundle. Raises InvalidValue where it is relative to a directory that is gone."""
    return absolute(words.text("bundle") or ".", "--bundle")


def settings(words: Words, who: Caller) -> dict[str, Any]:
    """Return the settings of create and run; those that were not given are left out,
    so that their defaults stand in one place.
    """
    found: dict[str, Any] = {
        "pid_file": words.text("pid-file"),
        "console_socket": words.text("console-socket"),
        "preserve_fds": words.number("preserve-fds"),
        "no_pivot": words.yes("no-pivot"),
        "no_new_keyring": words.yes("no-new-keyring"),
    }
    if config := words.text("config"):
        found["config"] = absolute(config, "--config")
    if socket := words.text("pidfd-socket"):
        found["pidfd_socket"] = socket
    return found | cgroups(who)


def cgroups(who: Caller) -> dict[str, Any]:
    """Return who makes cgroups, where that is not the usual one."""
    found: dict[str, Any] = {}
    if who.cgroup_manager != "cgroupfs":
        found["cgroup_manager"] = who.cgroup_manager
    if who.rootless is not None:
        found["rootless"] = who.rootless
    return found


def print_json(value: Any) -> None:
    """For a person in lines; engines ask often, and get it without the import of `json`."""
    from cratebox.jsontext import dumps

    if sys.stdout.isatty():
        from cratebox.cli.render import json_text

        sys.stdout.write(json_text(value) + "\n")
    else:
        sys.stdout.write(dumps(value) + "\n")
