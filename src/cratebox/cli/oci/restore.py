"""crate-oci restore."""

from __future__ import annotations

from cratebox.cli.oci.checkpoint import BOTH, refusal
from cratebox.cli.oci.words import BUNDLE, CONSOLE_SOCKET, DONE, ID, PID_FILE
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="restore",
    arguments=ID,
    summary="Make a container of what checkpoint has written (not done yet)",
    flags=(
        *BOTH,
        BUNDLE,
        CONSOLE_SOCKET,
        PID_FILE,
        Flag("detach", "d", help="do not wait"),
        Flag("no-subreaper", help="adopt no processes that the container orphans"),
        Flag("no-pivot", help="do not use pivot_root(2)"),
        Flag("lsm-profile", metavar="TYPE:NAME", help="another AppArmor profile or SELinux label"),
        Flag("lsm-mount-context", metavar="CONTEXT", help="another SELinux context of mounts"),
    ),
    least=1,
    most=1,
    description="Not done by this version of crate, and refused: what keeps criu itself from working here is told.",
    exit_codes=DONE,
)


def main(_words: Words, who: Caller) -> int:
    """Say what is missing."""
    raise refusal(who.criu)
