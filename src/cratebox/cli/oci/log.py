"""How an error is told: to a person on standard error, to an engine as one line in the file of --log.

Podman reads the whole file as one JSON object, containerd takes its last line of level error: one line is written, and only
for an error. Where there is no such file but --log-format json, the line goes to standard error, as with runc.
"""

from __future__ import annotations

import os
import sys

from cratebox.errors import CrateError
from cratebox.jsontext import dumps
from cratebox.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

_STANDARD_ERROR = ("/dev/stderr", "/proc/self/fd/2", "/dev/fd/2")  # another open of a socket or of another user's pipe fails


def tell(error: Exception, who: Caller) -> None:
    """Tell of `error` wherever it has to be told. Never fails."""
    message, hint = _words_of(error)
    entry = _json_entry(message) if who.log_format == "json" else _text_entry(message)
    is_file = who.log is not None and who.log not in _STANDARD_ERROR
    if is_file or (who.log is None and who.log_format != "json"):
        name = f"crate-oci {who.verb}" if who.verb else "crate-oci"
        _write(f"{name}: {safe(message)}\n" + (f"  hint: {safe(hint)}\n" if hint else ""))
    else:
        _write(entry + "\n")
    if who.log is not None and is_file:
        _append(who.log, entry)
    if who.debug:
        import traceback

        _write("".join(traceback.format_exception(error)))


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass  # nobody listens


def _words_of(error: Exception) -> tuple[str, str | None]:
    """Return the message and the hint of an error, also of one that nobody expected."""
    if isinstance(error, CrateError):
        return error.message, error.hint
    if isinstance(error, MemoryError):
        return "there is no memory left", None
    if isinstance(error, OSError):
        name = f"{_text(error.filename)}: " if error.filename is not None else ""
        return f"{name}{error.strerror or error}", None
    return f"internal error: {type(error).__name__}: {error}", "crate-oci --debug shows where; please report it"


def _text(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)


def _now() -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _json_entry(message: str) -> str:
    return dumps({"level": "error", "msg": message, "time": _now()})


def _text_entry(message: str) -> str:
    return f'time="{_now()}" level=error msg={dumps(message)}'


def _append(path: str, entry: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, entry.encode() + b"\n")
        finally:
            os.close(fd)
    except OSError as error:
        _write(f"crate-oci: cannot write the log {safe(path)}: {error.strerror}\n")
