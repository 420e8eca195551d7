"""The registries that the other tests pull from satisfy a client that is not ours."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support import people
from support import registry as registries
from support.images import DOCKER, Image
from support.registry import Hub, Registry


def skopeo(*args: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    argv = [*prefix, "skopeo", "--insecure-policy", *args]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, env=people.bare() | (env or {}))


def test_skopeo_copies_from_the_plain_registry(registry: Registry, busybox_base: Image, tmp_path: Path) -> None:
    name = registry.push("peers/busybox", "one", busybox_base)
    done = skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / busybox_base.id.removeprefix("sha256:")).read_bytes() == busybox_base.config_blob


def test_skopeo_chooses_a_platform_from_an_index(registry: Registry, busybox_base: Image) -> None:
    other = Image(busybox_base.layers, busybox_base.config, "arm64", "v8")
    name = registry.push_index("peers/platforms", "one", [busybox_base.as_docker(), other.as_docker()], DOCKER)
    done = skopeo("inspect", "--override-arch", "arm64", "--override-variant", "v8", "--tls-verify=false", f"docker://{name}")
    assert json.loads(done.stdout)["Architecture"] == "arm64", done.stderr


def test_skopeo_pulls_alpine_from_the_hub(hub: Hub, busybox_base: Image, tmp_path: Path) -> None:
    hub.push("library/alpine", "peers", busybox_base)
    out = f"dir:{tmp_path}/out"
    done = skopeo("copy", "docker://alpine:peers", out, env=hub.environment(), prefix=hub.names.prefix())
    assert done.returncode == 0, done.stderr


def test_the_hub_gives_nothing_without_a_token(hub: Hub, busybox_base: Image) -> None:
    hub.push("library/alpine", "peers", busybox_base)
    argv = [
        *hub.names.prefix(),
        "curl",
        "-sS",
        "--cacert",
        str(hub.certificates),
        "-o/dev/null",
        "-w%{http_code} %header{www-authenticate}",
    ]
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        [*argv, f"https://{registries.HUB}/v2/library/alpine/manifests/peers"], capture_output=True, text=True
    )
    assert done.stdout.startswith('401 Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'), done.stderr


def test_the_hub_is_not_trusted_without_its_authority(hub: Hub, tmp_path: Path) -> None:
    done = skopeo("inspect", "docker://alpine:peers", prefix=hub.names.prefix())
    assert "x509" in done.stderr


def test_the_basic_registry_wants_the_password(busybox_base: Image, tmp_path: Path) -> None:
    if reason := registries.why_not():
        pytest.skip(reason)
    with registries.basic(tmp_path / "basic") as running:
        name = running.push("private/busybox", "one", busybox_base)
        refused = skopeo("inspect", "--tls-verify=false", f"docker://{name}")
        credentials = f"--creds={registries.USER}:{registries.PASSWORD}"
        accepted = skopeo("inspect", "--tls-verify=false", credentials, f"docker://{name}")
    assert (refused.returncode != 0, accepted.returncode) == (True, 0), accepted.stderr
