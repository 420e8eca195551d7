"""`crate pull` and what pulls by itself, from a real registry and from one that speaks as Docker Hub does."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.commands import Crate
from support.images import DOCKER, Image, Layer, Tree, busybox_tree
from support.registry import Registry

PATIENCE = 60


@pytest.fixture
def name(registry: Registry, busybox_base: Image, word: str) -> str:
    """busybox in the registry under a name of this test's own."""
    return registry.push(word, "latest", busybox_base)


def _gets(registry: Registry, repository: str) -> list[str]:
    """Return the blobs that were asked for, each as often as that was."""
    return re.findall(rf'"GET /v2/{repository}/blobs/([^ ?"]+)', registry.log())


def test_an_image_is_pulled_and_runs(crate: Crate, name: str, busybox_base: Image) -> None:
    said = crate.ok("pull", name)
    assert busybox_base.digest in said
    assert "Downloaded" in said
    assert said.splitlines()[-1] == name
    assert crate.ok("run", "--rm", "--pull", "never", name, "echo", "x") == "x"


def test_a_pull_skips_what_is_there_and_says_so(crate: Crate, name: str, registry: Registry, word: str) -> None:
    crate.ok("pull", name)
    before = _gets(registry, word)
    assert "up to date" in crate.ok("pull", name)
    assert _gets(registry, word) == before


def test_a_quiet_pull_says_the_name_alone(crate: Crate, name: str) -> None:
    done = crate("pull", "--quiet", name)
    assert (done.stdout, done.stderr) == (name + "\n", "")


def test_a_pull_fetches_only_the_layers_that_are_missing(
    rootful: Crate, name: str, registry: Registry, word: str, busybox_base
) -> None:
    rootful.ok("pull", name)
    extra = Tree().file("extra", "x").layer()
    other = registry.push(word, "other", Image((*busybox_base.layers, extra), busybox_base.config))
    before = _gets(registry, word)
    rootful.ok("pull", other)
    fetched = _gets(registry, word)[len(before) :]
    assert busybox_base.layers[0].digest not in fetched
    assert fetched.count(extra.digest) == 1
    assert rootful.ok("run", "--rm", other, "cat", "/extra") == "x"


def test_run_and_create_pull_what_is_missing(crate: Crate, name: str) -> None:
    done = crate("run", "--rm", name, "echo", "x")
    assert done.stdout == "x\n"
    assert "Pulling" in done.stderr
    assert re.fullmatch("[0-9a-f]{64}", crate.ok("create", name, "true"))


def test_run_pulls_nothing_that_is_there(rootful: Crate, name: str, registry: Registry) -> None:
    rootful.ok("pull", name)
    before = registry.log().count("GET") + registry.log().count("HEAD")
    done = rootful("run", "--rm", name, "echo", "x")
    assert (done.stdout, done.stderr) == ("x\n", "")
    assert registry.log().count("GET") + registry.log().count("HEAD") == before


def test_pull_always_sees_a_tag_that_moved(crate: Crate, name: str, registry: Registry, word: str, busybox_base: Image) -> None:
    crate.ok("pull", name)
    layer = Tree().file("new", "new").layer()
    registry.push(word, "latest", Image((*busybox_base.layers, layer), busybox_base.config))
    assert crate("run", "--rm", name, "cat", "/new").returncode == 1
    assert crate.ok("run", "--rm", "--quiet", "--pull", "always", name, "cat", "/new") == "new"
    assert crate.ok("run", "--rm", name, "cat", "/new") == "new"


def test_pull_never_asks_nobody(crate: Crate, name: str) -> None:
    assert (
        "not in the store" in (said := crate.fails("run", "--rm", "--pull", "never", name, "true"))
        or "no such image" in said.lower()
    )


def test_a_container_keeps_the_image_it_was_made_of(
    rootful: Crate, name: str, registry: Registry, word: str, busybox_base
) -> None:
    identity = rootful.ok("create", name, "sh", "-c", "test -e /new && echo new || echo old")
    registry.push(word, "latest", Image((*busybox_base.layers, Tree().file("new", "x").layer()), busybox_base.config))
    rootful.ok("pull", name)
    assert rootful.ok("start", "-a", identity) == "old"


def test_an_image_is_pulled_by_its_digest(crate: Crate, registry: Registry, name: str, word: str, busybox_base: Image) -> None:
    by_digest = f"{registry.address}/{word}@{busybox_base.digest}"
    crate.ok("pull", by_digest)
    assert crate.ok("run", "--rm", "--pull", "never", by_digest, "echo", "x") == "x"


def test_an_image_is_pulled_by_tag_and_digest(
    rootful: Crate, registry: Registry, name: str, word: str, busybox_base: Image
) -> None:
    rootful.ok("pull", f"{name}@{busybox_base.digest}")
    wrong = "sha256:" + "0" * 64
    rootful.fails("pull", f"{registry.address}/{word}:latest@{wrong}")


def test_images_of_docker_run_as_well(crate: Crate, registry: Registry, word: str, busybox_base: Image) -> None:
    assert crate.ok("run", "--rm", "-q", registry.push(word, "docker", busybox_base.as_docker()), "echo", "x") == "x"


def _for(base: Image, architecture: str, variant: str = "") -> Image:
    layer = Tree().file("architecture", f"{architecture}{variant}\n").layer()
    return Image((*base.layers, layer), base.config, architecture, variant, base.media)


@pytest.mark.parametrize("media", [None, DOCKER], ids=["OCI", "Docker"])
def test_of_many_platforms_the_machines_is_taken(
    crate: Crate, registry: Registry, word: str, busybox_base: Image, media
) -> None:
    base = busybox_base if media is None else busybox_base.as_docker()
    images = [_for(base, "s390x"), _for(base, "amd64"), _for(base, "arm", "v7")]
    many = registry.push_index(word, "many", images, *([media] if media else []))
    if os.uname().machine == "x86_64":
        assert crate.ok("run", "--rm", "-q", many, "cat", "/architecture") == "amd64"
    said = crate.ok("pull", "--platform", "linux/s390x", many)
    assert images[0].digest in said
    assert "linux/mips" in (said := crate.fails("pull", "--platform", "linux/mips", many)) or "mips" in said
    assert "s390x" in said  # what there is


def test_an_unknown_image_or_tag_is_said(crate: Crate, registry: Registry, name: str, word: str) -> None:
    for unknown in (
        f"{registry.address}/{word}:no-such-tag",
        f"{registry.address}/no-such-image",
        f"{registry.address}/a/b/c:d",
    ):
        said = crate.fails("pull", unknown)
        assert len(said.splitlines()) <= 3, said
        assert unknown.removeprefix(registry.address)[1:].partition(":")[0] in said
        crate.fails("run", "--rm", unknown, "true")
    assert crate.ok("images", "-q") == ""


def test_a_registry_that_is_not_there_is_said(crate: Crate) -> None:
    assert "127.0.0.1:1" in crate.fails("pull", "127.0.0.1:1/x", timeout=PATIENCE)


def test_a_registry_that_speaks_no_http_is_said(rootful: Crate) -> None:
    import socket
    import threading

    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(8):
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example ESMTP\r\n")

    threading.Thread(target=serve, daemon=True).start()
    said = rootful.fails("pull", f"127.0.0.1:{server.getsockname()[1]}/x")
    assert len(said.splitlines()) <= 3, said
    server.close()


def test_a_blob_that_was_changed_is_refused_and_nothing_is_kept(
    crate: Crate, scratch: Path, word: str, busybox_base: Image
) -> None:
    with Registry(scratch / word / "registry") as registry:
        name = registry.push("x", "latest", busybox_base)
        blob = registry.blob_file(busybox_base.layers[0].digest)
        raw = blob.read_bytes()
        for wrong in (raw[:-1], raw + b"x", raw[:1000] + b"\0" + raw[1001:], b""):
            blob.write_bytes(wrong)
            said = crate.fails("pull", "-q", name)
            assert len(said.splitlines()) <= 2, said
            assert crate.ok("images", "-q") == ""
        blob.write_bytes(raw)
        assert crate.ok("run", "--rm", "-q", name, "echo", "x") == "x"


def test_two_pulls_of_one_image_at_once_are_one_download(crate: Crate, registry: Registry, word: str) -> None:
    layers = tuple(Layer.of_tar(Tree().file(f"f{n}", os.urandom(3 << 20)).tar()) for n in range(3))
    name = registry.push(word, "latest", Image((busybox_tree().layer(), *layers), {"Cmd": ["sh"], "Env": ["PATH=/bin"]}))
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: crate("pull", "-q", name), range(4)))
    assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]
    gets = _gets(registry, word)
    for layer in layers:
        assert gets.count(layer.digest) == 1
    assert crate.ok("run", "--rm", name, "sh", "-c", "ls /f*") == "/f0\n/f1\n/f2"


def test_a_pull_that_was_interrupted_goes_on(crate: Crate, registry: Registry, word: str, until) -> None:
    layer = Layer.of_tar(Tree().file("big", os.urandom(20 << 20)).tar())
    name = registry.push(word, "latest", Image((busybox_tree().layer(), layer), {"Cmd": ["sh"], "Env": ["PATH=/bin"]}))
    process = crate.start("pull", "-q", name, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    partial = crate.root / "images/blobs/.partial" / layer.digest.replace(":", "-")
    until(lambda: process.poll() is not None or (partial.exists() and partial.stat().st_size))
    process.send_signal(2)
    with process.stderr:
        said = process.stderr.read()
    assert process.wait(PATIENCE) in {0, 130}
    assert b"Traceback" not in said
    assert crate.ok("run", "--rm", "-q", name, "sh", "-c", "wc -c < /big") == str(20 << 20)


def test_ctrl_c_ends_a_pull_that_waits_for_a_registry(rootful: Crate) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = rootful.start(
            "pull", f"127.0.0.1:{silent.getsockname()[1]}/x", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        silent.settimeout(PATIENCE)
        with silent.accept()[0]:  # it is connected, and waits
            process.send_signal(2)
            _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"KeyboardInterrupt" not in err


def test_output_goes_to_pipes_as_plain_lines(rootful: Crate, name: str) -> None:
    done = rootful("pull", name)
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr


def test_a_name_of_an_image_is_shown_in_images_and_taken_away_by_rmi(
    crate: Crate, name: str, registry: Registry, word: str
) -> None:
    crate.ok("pull", "-q", name)
    assert crate.ok("images", "--format", "{{.Repository}}:{{.Tag}}") == name
    document = json.loads(crate.ok("inspect", name))[0]
    assert document["RepoTags"] == [name]
    assert document["RepoDigests"][0].startswith(f"{registry.address}/{word}@sha256:")
    assert "Untagged" in crate.ok("rmi", name)
    assert crate.ok("images", "-q") == ""


def test_one_of_two_names_can_be_taken_away(
    rootful: Crate, name: str, registry: Registry, word: str, busybox_base: Image
) -> None:
    second = registry.push(word, "second", busybox_base)
    rootful.ok("pull", "-q", name)
    rootful.ok("pull", "-q", second)
    assert len(set(rootful.ok("images", "-q").split())) == 1
    rootful.ok("rmi", name)
    assert rootful.ok("run", "--rm", "--pull", "never", second, "echo", "x") == "x"


# --- Docker Hub ------------------------------------------------------------------------------------------------------


def test_alpine_comes_from_docker_hub_and_runs(crate: Crate, hub, at_hub, alpine_base: Image) -> None:
    hub.push("library/alpine", "latest", alpine_base)
    there = at_hub(crate)
    said = there.ok("pull", "alpine")
    assert said.startswith("Using default tag: latest\n")
    assert said.endswith("docker.io/library/alpine:latest")
    assert there.ok("run", "alpine", "/bin/sh", "-c", "echo hello world") == "hello world"
    identity = there.ok("create", "alpine", "cat", "/etc/alpine-release")
    assert there.ok("start", "-a", identity[:8]).startswith("3.")
    assert there.ok("images", "--format", "{{.Repository}}:{{.Tag}}") == "alpine:latest"
    for name in ("alpine:latest", "docker.io/alpine", "library/alpine", "index.docker.io/library/alpine:latest"):
        assert there.ok("run", "--rm", "--pull", "never", name, "echo", "x") == "x"


def test_an_image_that_docker_hub_does_not_have_is_said(crate: Crate, hub, at_hub) -> None:
    said = at_hub(crate).fails("pull", "no-such-image")
    assert "no-such-image" in said
    assert len(said.splitlines()) <= 2, said


def test_docker_hub_is_not_believed_without_its_certificate(rootful: Crate, hub, at_hub, busybox_base: Image) -> None:
    hub.push("library/busybox", "latest", busybox_base)
    said = at_hub(rootful).fails("pull", "busybox", env={"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"})
    assert "certificate" in said.lower()
    assert at_hub(rootful).ok("images", "-q") == ""


def test_without_docker_hub_run_says_what_is_missing(rootful: Crate) -> None:
    crate = rootful.within(("unshare", "--net"))
    said = crate.fails("run", "--rm", "alpine", "true", timeout=PATIENCE)
    assert "registry-1.docker.io" in said or "docker.io" in said
    assert len(said.splitlines()) <= 3, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_pull_that_is_ended_while_it_draws_shows_the_cursor_again(
    rootful: Crate, registry: Registry, word: str, busybox_base: Image, number: signal.Signals
) -> None:
    noise = Tree().file("noise", random.Random(number).randbytes(60_000_000)).layer()
    name = registry.push(word, "large", Image((*busybox_base.layers, noise), busybox_base.config))
    master, slave = pty.openpty()
    process = rootful.start("pull", name, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    drawn = b""
    with contextlib.suppress(OSError):  # EIO: the last process with the other end has gone
        while data := os.read(master, 65536):
            if b"\x1b[?25l" in drawn + data and b"\x1b[?25l" not in drawn:
                process.send_signal(number)
            drawn += data
    os.close(master)
    assert process.wait(PATIENCE) == 128 + number, drawn[-400:]
    assert drawn.rindex(b"\x1b[?25h") > drawn.rindex(b"\x1b[?25l")
    assert rootful.ok("images", "-q") == ""
