"""One tree of errors. Each carries what a person needs: one line, a hint, and the exit code Docker would use.

Raise one of these or log, never both. A kernel call that fails raises a plain OSError (see `linux._libc.failure`); the
room that knows what was being attempted turns it into one of these.
"""

from __future__ import annotations


class CrateError(Exception):
    """crate could not do what was asked.

    `message` is one line: what, on what, why. `hint` is one line that says what to do, or None.
    `exit_code` is what the command line ends with (125: crate's own failure, as Docker's).
    """

    exit_code = 125

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


DISK_FULL = (28, 122)  # ENOSPC, EDQUOT


def full_hint(error: OSError) -> str | None:
    """Return what helps where a disk or a quota is full, None for another error."""
    return "the disk is full: crate rm and crate rmi free space, crate volume prune may" if error.errno in DISK_FULL else None


class UsageError(CrateError):
    """The words of a command, a flag or an argument are not of the form they must have."""


class InvalidValue(CrateError):
    """A value is outside of what its format or the kernel allows (a name, a digest, a user, a spec's field)."""


class NotFound(CrateError):
    """There is no such image, container or file."""


class Conflict(CrateError):
    """It is there, but in a state that forbids this: a name taken, a container that runs, an image in use."""


class Unsupported(CrateError):
    """The machine or the kernel lacks what this needs, or crate does not do it. The message names it."""


class NotAllowed(CrateError):
    """A setting of this machine or user forbids it. The message names the file."""


class StorageError(CrateError):
    """The disk is full, a file of the store is damaged, or the store belongs to somebody else."""


class RegistryError(CrateError):
    """A registry refused, lied or did not answer. The message has the method, the redacted URL and its diagnosis."""


class Untrusted(CrateError):
    """Content is not what its digest, size or format says: nothing of it was kept."""


class RuntimeFailure(CrateError):
    """A container could not be set up or started. The message names the step and what the kernel said."""


class CannotInvoke(RuntimeFailure):
    """The container's command is there but cannot be executed (a directory, no permission, no program)."""

    exit_code = 126


class CommandNotFound(RuntimeFailure):
    """The container's command is not there."""

    exit_code = 127


class OverlayRefused(Unsupported):
    """The kernel or the file system below does not do overlayfs here; a copy of the layers would work."""
