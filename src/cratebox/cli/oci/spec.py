"""crate-oci spec."""

from __future__ import annotations

import os

from cratebox.cli.oci.words import BUNDLE, DONE, bundle_of
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import Conflict, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="spec",
    arguments="",
    summary="Write a config.json to begin with",
    flags=(
        BUNDLE.replace(help="where config.json is written (the working directory)"),
        Flag("rootless", help="for an ordinary user: with a user namespace, and without what takes root"),
    ),
    description="Write the spec of a container that runs sh on a terminal, its root file system in the directory rootfs beside the "
    "file, read-only. It is meant to be edited.",
    examples=(
        ("crate-oci spec --bundle DIR", "writes DIR/config.json"),
        ("crate-oci spec --rootless", "one that needs no root"),
    ),
    exit_codes=DONE,
)


def main(words: Words, _who: Caller) -> int:
    """Write it."""
    from cratebox.jsontext import dumps_pretty
    from cratebox.runtime.starter import starter

    path = bundle_of(words) + "/config.json"
    text = dumps_pretty(starter(rootless=words.yes("rootless"), uid=os.geteuid(), gid=os.getegid())) + "\n"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except FileExistsError:
        raise Conflict(f"{path} is there already", "remove it first") from None
    except OSError as error:
        raise StorageError(f"cannot write {path}: {(error.strerror or '').lower()}") from None
    return 0
