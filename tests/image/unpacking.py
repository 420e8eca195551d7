"""What the tests of layers share: unpacking one, and looking at what came out."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest
from craft import archive, entry
from inside import IS_ROOT

from cratebox.image import layer

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root: devices, owners and trusted attributes")


def unpack(raw: bytes, root: Path, media_type: str = "", **options: object) -> layer.Unpacked:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        options.setdefault("userxattr", not IS_ROOT)
        options.setdefault("owners", "keep" if IS_ROOT else "record")
        options.setdefault("owners_file", io.BytesIO())
        return layer.unpack(io.BytesIO(raw), media_type, fd, **options)  # type: ignore[arg-type]
    finally:
        os.close(fd)


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def opaque(path: Path) -> bytes:
    return os.getxattr(path, "trusted.overlay.opaque" if IS_ROOT else "user.overlay.opaque")


def is_whiteout(path: Path) -> bool:
    info = path.lstat()
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def run_overlay(tmp_path: Path, *, userxattr: bool) -> str | None:
    """Unpack two layers, mount them, and return what is wrong, or None."""
    from cratebox.linux import const
    from cratebox.linux._libc import checked

    lower, upper, merged = (tmp_path / name for name in ("lower", "upper", "merged"))
    for directory in (lower, upper, merged):
        directory.mkdir()
    options = {"userxattr": userxattr, "owners": "keep"}
    unpack(archive(entry(b"a", b"1"), entry(b"d/x", b"1"), entry(b"o/x", b"1"), entry(b"keep", b"1")), lower, **options)
    unpack(archive(entry(b".wh.a"), entry(b"d/.wh.x"), entry(b"o/.wh..wh..opq"), entry(b"o/y", b"2")), upper, **options)
    pid = os.fork()
    if pid == 0:
        try:
            if not userxattr:
                checked("unshare", const.SYS_unshare, const.CLONE_NEWNS)
                checked("private", const.SYS_mount, b"none", b"/", None, const.MS_REC | const.MS_PRIVATE, None)
            data = f"lowerdir={upper}:{lower}" + (",userxattr" if userxattr else "")
            checked("mount", const.SYS_mount, b"overlay", os.fsencode(merged), b"overlay", 0, data.encode())
            os._exit(0 if names(merged) == {"keep", "d", "o", "o/y"} else 1)
        except BaseException:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None if code == 0 else f"exit code {code}"
