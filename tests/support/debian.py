"""A real Debian (or Ubuntu) image by mmdebstrap, made once a machine and kept."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
from pathlib import Path

from support.images import PATH, Image, Layer

CACHE = Path(
    os.environ.get(
        "CRATE_TEST_CACHE", "/var/tmp/crate-test-cache" if os.geteuid() == 0 else Path.home() / ".cache/crate-test-cache"
    )
)


class CannotBuild(Exception):
    """There is no mmdebstrap here, or no archive answers."""


def debian_image() -> Image:
    """Return an image of the minimal system of this machine's own release. Raises CannotBuild."""
    return Image((Layer.of_gzip(tarball("minbase", ()).read_bytes()),), {"Env": [PATH], "Cmd": ["bash"]}, architecture())


def architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def tarball(name: str, include: tuple[str, ...]) -> Path:
    """Return the gzipped tar of a minimal system with the packages `include`, kept as `name`. Raises CannotBuild."""
    if shutil.which("mmdebstrap") is None:
        raise CannotBuild("mmdebstrap is not installed")
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    if CACHE.stat().st_uid != os.geteuid():
        raise CannotBuild(f"{CACHE} belongs to somebody else")
    release = _os_release()["VERSION_CODENAME"]
    found = CACHE / f"{release}-{name}.tar.gz"
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            _build(release, include, found)
    return found


def _build(release: str, include: tuple[str, ...], to: Path) -> None:
    partial = to.with_name("partial-" + to.name)
    mode = "root" if os.geteuid() == 0 else "unshare"
    argv = ["mmdebstrap", "--quiet", f"--mode={mode}", "--variant=minbase", *(f"--include={p}" for p in include)]
    done = subprocess.run([*argv, release, partial, _sources(release)], capture_output=True, text=True, timeout=1200)
    if done.returncode:
        partial.unlink(missing_ok=True)
        raise CannotBuild("mmdebstrap: " + (done.stderr.strip().splitlines() or ["failed"])[-1])
    partial.rename(to)


def _sources(release: str) -> str:
    """Return the file in which this machine's own apt reads where packages come from."""
    for name in ("sources.list.d/debian.sources", "sources.list.d/ubuntu.sources", "sources.list"):
        path = Path("/etc/apt") / name
        if path.is_file() and release in path.read_text():
            return str(path)
    raise CannotBuild(f"apt has no source of {release}")


def _os_release() -> dict[str, str]:
    return platform.freedesktop_os_release()
