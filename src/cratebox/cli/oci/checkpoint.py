"""crate-oci checkpoint."""

from __future__ import annotations

from cratebox.cli.oci.words import DONE, ID
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

BOTH = (
    Flag("image-path", metavar="DIR", help="where criu's images are (./checkpoint)", completes="directory"),
    Flag("work-path", metavar="DIR", help="where criu works and logs", completes="directory"),
    Flag("tcp-established", help="open TCP connections too"),
    Flag("ext-unix-sk", help="unix sockets that lead outside too"),
    Flag("shell-job", help="processes of a shell's session too"),
    Flag("lazy-pages", help="memory is fetched when it is used"),
    Flag("file-locks", help="file locks too"),
    Flag(
        "manage-cgroups-mode",
        metavar="MODE",
        help="what is done with cgroups",
        words=("soft", "full", "strict", "ignore"),
        default="soft",
    ),
    Flag("empty-ns", metavar="NAMESPACE", help="leave the properties of this namespace out", repeat=True),
    Flag("auto-dedup", help="keep each page of memory once"),
)
COMMAND = Command(
    name="checkpoint",
    arguments=ID,
    summary="Write the state of a running container to files (not done yet)",
    flags=(
        *BOTH,
        Flag("parent-path", metavar="DIR", help="the images of an earlier --pre-dump", completes="directory"),
        Flag("leave-running", help="the container goes on"),
        Flag("status-fd", metavar="FD", help="where criu says that the pages can be fetched"),
        Flag("page-server", metavar="ADDRESS:PORT", help="where the pages are served"),
        Flag("pre-dump", help="its memory alone; it goes on"),
    ),
    least=1,
    most=1,
    completes="container",
    description="Not done by this version of crate, and refused: what keeps criu itself from working here is told.",
    exit_codes=DONE,
)


def main(_words: Words, who: Caller) -> int:
    """Say what is missing."""
    raise refusal(who.criu)


def refusal(criu: str) -> Exception:
    """Return the error that says what there is not: criu, one that works, or our side of it."""
    import shutil
    import subprocess

    from cratebox.errors import Unsupported

    program = shutil.which(criu)
    if program is None:
        return Unsupported(f"checkpoint and restore need {criu}, which is not installed")
    done = subprocess.run(
        [program, "check"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        return Unsupported(f"{program} does not work on this machine: {said[-1] if said else 'criu check failed'}")
    return Unsupported("checkpoint and restore are not done by this version of crate", "crate-oci features says what is")
