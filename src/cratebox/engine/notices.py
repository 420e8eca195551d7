"""What a user should know, but not at every command."""

from __future__ import annotations

import os

from cratebox.paths import Paths, private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.progress import Progress


def once(paths: Paths, progress: Progress, what: str, text: str) -> None:
    """Say `text` through `progress`, once until the next boot: a file of the state directory remembers."""
    if getattr(progress, "quiet", False):
        return  # it would be remembered as said
    if remember(paths, what):
        progress.message(text)


def remember(paths: Paths, what: str) -> bool:
    """Remember `what` until the next boot; return whether it is new. Where there is nowhere to remember it, it is not."""
    try:
        private_directory(private_directory(paths.state) + "/said")
        os.close(os.open(f"{paths.state}/said/{what}", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError:
        return False
    return True
