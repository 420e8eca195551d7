"""crate-oci checkpoint."""

from __future__ import annotations

import fcntl
import os

from cratebox.cli.oci.caller import absolute
from cratebox.cli.oci.words import DONE, ID
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller
    from cratebox.runtime.checkpoint import Images

BOTH = (
    Flag("image-path", metavar="DIR", help="where criu's images are (./checkpoint)", completes="directory"),
    Flag("work-path", metavar="DIR", help="where criu works and logs (the directory of the images)", completes="directory"),
    Flag("tcp-established", help="open TCP connections too"),
    Flag("ext-unix-sk", help="unix sockets that lead outside too"),
    Flag("shell-job", help="processes of a shell's session too"),
    Flag(
        "lazy-pages",
        help="leave the memory where it is until it is used: checkpoint serves it at the port of --page-server until all of it was fetched, "
        "by a `criu lazy-pages` beside the restore",
    ),
    Flag("file-locks", help="file locks too"),
    Flag("link-remap", help="files too that were deleted and are still open"),
    Flag(
        "manage-cgroups-mode",
        metavar="MODE",
        help="what is done with cgroups inside of the container's: soft leaves what is there, full and strict set or insist on "
        "what was, ignore does without them",
        words=("soft", "full", "strict", "ignore"),
        default="soft",
    ),
    Flag(
        "empty-ns",
        metavar="network",
        help="leave what is in this namespace to the hooks of a restore",
        words=("network",),
        repeat=True,
    ),
    Flag("auto-dedup", help="keep each page of memory once"),
)
COMMAND = Command(
    name="checkpoint",
    arguments=ID,
    summary="Write the state of a running container to files",
    flags=(
        *BOTH,
        Flag(
            "parent-path",
            metavar="DIR",
            help="the images of an earlier --pre-dump, relative to --image-path",
            completes="directory",
        ),
        Flag("leave-running", help="the container goes on"),
        Flag("tcp-skip-in-flight", help="leave TCP connections out that are not established yet"),
        Flag("status-fd", metavar="FD", help="with --lazy-pages: where criu writes a zero byte once the memory can be fetched"),
        Flag(
            "page-server",
            metavar="ADDRESS:PORT",
            help="send the memory to the criu page-server that listens there; with --lazy-pages listen at this port, on every address",
        ),
        Flag("pre-dump", help="its memory alone; it goes on"),
    ),
    least=1,
    most=1,
    completes="container",
    description="Write the processes of a container, their memory and what they have open to files, with criu (criu(8)), which has to be "
    "installed; then delete the container, unless --leave-running says otherwise. Its root file system and what is mounted from the "
    "host are not written: a restore wants them as they were. Root's alone.",
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """Write it."""
    from cratebox.runtime.checkpoint import Dump, checkpoint

    wanted = images_of(words, who)
    dump = Dump(
        parent=words.text("parent-path") or "",
        leave_running=words.yes("leave-running"),
        pre_dump=words.yes("pre-dump"),
        tcp_skip_in_flight=words.yes("tcp-skip-in-flight"),
        page_server=_address(words),
        status_fd=_status_fd(words),
    )
    if wanted.lazy_pages and (not dump.page_server[0] or dump.pre_dump):
        raise words.wrong("--lazy-pages goes with --page-server, which says at which port, and not with --pre-dump")
    checkpoint(who.root, words.arguments[0], wanted, dump)
    return 0


def images_of(words: Words, who: Caller) -> Images:
    """Return what the flags of both verbs say. Raises InvalidValue."""
    from cratebox.runtime.checkpoint import Images

    images = absolute(words.text("image-path") or "checkpoint", "--image-path")
    work = words.text("work-path")
    return Images(
        images=images,
        work=absolute(work, "--work-path") if work else images,
        program=who.criu,
        tcp_established=words.yes("tcp-established"),
        ext_unix_sk=words.yes("ext-unix-sk"),
        shell_job=words.yes("shell-job"),
        file_locks=words.yes("file-locks"),
        auto_dedup=words.yes("auto-dedup"),
        link_remap=words.yes("link-remap"),
        lazy_pages=words.yes("lazy-pages"),
        cgroups_mode=words.text("manage-cgroups-mode") or "soft",
        empty_network=bool(words.all("empty-ns")),
    )


def _status_fd(words: Words) -> int:
    text = words.text("status-fd") or ""
    if not text:
        return -1
    if not words.yes("lazy-pages"):
        raise words.wrong("--status-fd goes with --lazy-pages")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise words.wrong(f"--status-fd {text}: it takes the number of a descriptor")
    try:
        writable = fcntl.fcntl(int(text), fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        writable = False
    if not writable:
        raise words.wrong(f"--status-fd {text}: this descriptor is not open for writing")
    return int(text)


def _address(words: Words) -> tuple[str, int]:
    text = words.text("page-server") or ""
    address, _colon, port = text.rpartition(":")
    if not text:
        return "", 0
    if not address or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise words.wrong(f"--page-server {text}: it takes an address and a port, as 192.0.2.1:9876")
    return address.strip("[]"), int(port)
