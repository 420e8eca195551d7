"""crate-oci restore."""

from __future__ import annotations

from cratebox.cli.oci.checkpoint import BOTH, images_of
from cratebox.cli.oci.words import BUNDLE, CONSOLE_SOCKET, ID, PID_FILE, bundle_of, cgroups
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="restore",
    arguments=ID,
    summary="Make a container of what checkpoint has written",
    flags=(
        *BOTH,
        BUNDLE,
        CONSOLE_SOCKET,
        PID_FILE,
        Flag("detach", "d", help="do not wait"),
        Flag("no-subreaper", help="adopt no processes that the container orphans: crate-oci never does"),
        Flag("no-pivot", help="do not use pivot_root(2): refused"),
        Flag(
            "lsm-profile", metavar="TYPE:NAME", help="another profile or label than the images': apparmor:NAME, selinux:LABEL"
        ),
        Flag("lsm-mount-context", metavar="CONTEXT", help="another SELinux context of mounts"),
    ),
    least=1,
    most=1,
    description="Make a container of a bundle whose processes go on as they were when checkpoint wrote them, with criu (criu(8)), and wait "
    "for its end. Mounts, limits and hooks are those of the bundle's config.json; the files of the container have to be those that it "
    "had. The images must be root's alone: criu does as root what they say.",
    exit_codes=(
        ("1", "an error of the runtime"),
        ("128+N", "the process died of signal N"),
        ("otherwise", "its exit code; with --detach 0"),
    ),
)


def main(words: Words, who: Caller) -> int:
    """Make it."""
    from cratebox.runtime.bundle import Settings
    from cratebox.runtime.restore import Labels, restore

    settings = Settings(
        pid_file=words.text("pid-file"),
        console_socket=words.text("console-socket"),
        no_pivot=words.yes("no-pivot"),
        **cgroups(who),
    )
    labels = Labels(words.text("lsm-profile") or "", words.text("lsm-mount-context") or "")
    return restore(who.root, words.arguments[0], bundle_of(words), images_of(words, who), labels, settings, words.yes("detach"))
