"""`crate commit`: an image of what a container has become."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import tarfile
import time
import zlib
from pathlib import Path

import pytest

from cratebox.engine import container_layers, instructions
from cratebox.engine.engine import Engine
from cratebox.errors import InvalidValue, NotFound
from cratebox.paths import locate

SCRIPT = """
echo new > /new; rm /etc/group; rm -r /home; mkdir -p /home/bob; ln /new /hard; ln -s new /soft; chown 5:6 /new; chmod 4755 /new
mkdir -p /deep/er; echo x > /deep/er/file; touch -d @1000000000 /deep
"""


@pytest.fixture
def made(box) -> str:
    """A container that has changed its files, and ended."""
    box.crate.ok("run", "--name", "web", box.image, "sh", "-ec", SCRIPT)
    return "web"


def documents(box, name: str) -> tuple[dict, dict, list[bytes]]:  # type: ignore[no-untyped-def,type-arg]
    """Manifest, config and plain layers of an image in the store, all of their digests checked."""
    images = box.crate.root / "images"
    index = json.loads((images / "index.json").read_bytes())
    (entry,) = [one for one in index["manifests"] if one["annotations"].get("org.opencontainers.image.ref.name") == name]
    manifest = json.loads(blob(images, entry))
    config = json.loads(blob(images, manifest["config"]))
    layers = [zlib.decompress(blob(images, layer), 31) for layer in manifest["layers"]]
    assert ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers] == config["rootfs"]["diff_ids"]
    return manifest, config, layers


def blob(images: Path, descriptor: dict) -> bytes:  # type: ignore[type-arg]
    raw = (images / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    assert (len(raw), "sha256:" + hashlib.sha256(raw).hexdigest()) == (descriptor["size"], descriptor["digest"])
    return raw


def test_the_image_runs_at_once_and_shows_what_the_container_had(box, made: str) -> None:
    identity = box.crate.ok("commit", made, "site:2")
    assert identity.startswith("sha256:")
    look = (
        "cat /new /hard /deep/er/file; stat -c '%u:%g %a %h' /new; stat -c %Y /deep; ls /home; ls /etc/group || readlink /soft"
    )
    said = box.crate("run", "--rm", "site:2", "sh", "-c", look).stdout.split()
    assert said == ["new", "new", "x", "5:6", "4755", "2", "1000000000", "bob", "new"]
    assert identity.removeprefix("sha256:")[:12] in box.crate.ok("images", "site")


def test_a_container_of_the_image_has_no_changes_and_it_can_be_removed(box, made: str) -> None:
    box.crate.ok("commit", made, "site")
    box.crate.ok("run", "--name", "again", "site", "true")
    assert box.crate.ok("diff", "again") == ""
    box.crate.ok("rm", "again")
    before = set((box.crate.root / "images/layers").iterdir())
    assert len(box.crate.ok("rmi", "site").splitlines()) == 3  # its name, its ID, and the layer that it had alone
    assert len(before - set((box.crate.root / "images/layers").iterdir())) == 1
    assert box.run("echo", "x") == "x"


def test_the_layer_is_what_the_specification_says_and_digests_are_right(box, made: str) -> None:
    box.crate.ok("commit", "-a", "me", "-m", "why", made, "site")
    manifest, config, layers = documents(box, "docker.io/library/site:latest")
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["layers"][-1]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    step = config["history"][-1]
    assert (config["author"], step["author"], step["comment"]) == ("me", "me", "why")
    assert step["created_by"].startswith("sh -ec")
    with tarfile.open(fileobj=io.BytesIO(layers[-1])) as archive:
        names = archive.getnames()
    assert {"etc/.wh.group", "home", "home/.wh.alice", "home/bob", "new", "hard", "deep/er/file"} <= set(names)
    assert [name.split("/") for name in names] == sorted(name.split("/") for name in names)


def test_the_same_changes_are_the_same_layer(box, made: str) -> None:
    box.crate.ok("commit", made, "one")
    box.crate.ok("commit", made, "two")
    one, two = (documents(box, f"docker.io/library/{name}:latest")[0]["layers"] for name in ("one", "two"))
    assert one == two


def test_a_commit_without_changes_adds_no_layer(box) -> None:
    box.crate.ok("commit", box.create("@", "true"), "same")
    _, config, layers = documents(box, "docker.io/library/same:latest")
    assert config["history"][-1]["empty_layer"] is True
    assert len(layers) == len(config["rootfs"]["diff_ids"])
    assert box.crate.ok("run", "--rm", "same", "echo", "x") == "x"


def test_it_runs_as_the_container_did(box) -> None:
    flags = ("-e", "X=1", "-w", "/etc", "-u", "1000", "--label", "a=b", "--stop-signal", "INT", "--health-cmd", "true")
    name = box.create(*flags, "@", "sh", "-c", "echo $X; pwd; id -u")
    box.crate.ok("commit", name, "same")
    assert box.crate.ok("run", "--rm", "same").split() == ["1", "/etc", "1000"]
    config = box.crate.json("inspect", "same")[0]["Config"]
    assert (config["Labels"], config["StopSignal"]) == ({"a": "b"}, "INT")
    assert config["Healthcheck"]["Test"] == ["CMD-SHELL", "true"]


def test_changes_say_how_it_is_run(box) -> None:
    changes = ('ENTRYPOINT ["echo"]', 'CMD ["a b"]', "ENV A=1", "LABEL l=$A", "EXPOSE 80", "USER alice", "WORKDIR /etc")
    box.crate.ok("commit", *(word for line in changes for word in ("-c", line)), box.create("@", "true"), "same")
    assert box.crate.ok("run", "--rm", "same") == "a b"
    config = box.crate.json("inspect", "same")[0]["Config"]
    assert (config["User"], config["WorkingDir"], config["Labels"]) == ("alice", "/etc", {"l": "1"})
    assert list(config["ExposedPorts"]) == ["80/tcp"]


def test_without_a_name_it_has_none_and_a_new_name_takes_it_from_the_old_image(box, made: str) -> None:
    identity = box.crate.ok("commit", made)
    assert box.crate.json("inspect", identity)[0]["RepoTags"] == []
    old = box.crate.ok("commit", "-m", "one", made, "site")
    new = box.crate.ok("commit", "-m", "two", made, "site")
    assert box.crate.json("inspect", "site")[0]["Id"] == new
    assert box.crate.json("inspect", old)[0]["RepoTags"] == []


def test_dockers_form_is_dockers(box, made: str) -> None:
    box.crate.ok("commit", "-f", "docker", made, "site")
    manifest, _, _ = documents(box, "docker.io/library/site:latest")
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.docker.image.rootfs.diff.tar.gzip"}
    assert box.crate.ok("run", "--rm", "site", "cat", "/new") == "new"


@pytest.mark.parametrize("pause", [(), ("--pause",), ("--pause=false",)])
def test_a_running_container_goes_on_afterwards(root_box, until, pause: tuple[str, ...]) -> None:
    name = root_box.detached("@", "sh", "-c", "echo x > /made; while :; do date +%N > /now; sleep 0.01; done")
    until(lambda: "A /now" in root_box.crate.ok("diff", name).splitlines())
    root_box.crate.ok("commit", *pause, name, "site")
    assert root_box.status(name) == "running"
    now = next((root_box.crate.root / "containers").glob("*/rw/upper/now"))
    before = now.stat().st_mtime_ns
    until(lambda: now.stat().st_mtime_ns != before)
    assert root_box.crate.ok("run", "--rm", "site", "cat", "/made") == "x"


def test_a_running_container_without_a_freezer_is_committed_all_the_same(user_box, until) -> None:
    name = user_box.detached("@", "sh", "-c", "echo x > /made; exec sleep 100")
    until(lambda: "A /made" in user_box.crate.ok("diff", name).splitlines())
    user_box.crate.ok("commit", name, "site")
    assert user_box.crate.ok("run", "--rm", "site", "cat", "/made") == "x"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none", "x"), "no container none"),
        (("web", "UPPER"), "UPPER"),
        (("web", "x@sha256:" + "a" * 64), "the digest of an image is what comes out"),
        (("-c", "RUN true", "web"), "no instruction that --change takes"),
        (("-c", "EXPOSE no", "web"), "not a port"),
        (("-f", "tar", "web"), "--format cannot be"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(box, made: str, words: tuple[str, ...], said: str) -> None:
    before = sorted((box.crate.root / "images").rglob("*"))
    assert said in box.crate.fails("commit", *words)
    assert sorted((box.crate.root / "images").rglob("*")) == before


def test_a_name_that_a_layer_cannot_have_is_said(box) -> None:
    box.crate.ok("run", "--name", "web", box.image, "touch", "/.wh.x")
    assert ".wh." in box.crate.fails("commit", "web", "site")
    assert "site" not in box.crate.ok("images")


def test_a_full_disk_leaves_no_image_and_no_half(root_box, small_store: Path, busybox_image) -> None:
    crate = root_box.crate.within((), CRATE_ROOT=str(small_store / "root"))
    crate.ok("pull", "-q", str(busybox_image))
    image = busybox_image.image.id.removeprefix("sha256:")
    crate.ok("run", "--name", "web", image, "sh", "-c", "head -c 60000000 /dev/urandom > /big")
    before = sorted(path for path in (small_store / "root/images").rglob("*") if "locks" not in path.parts)
    assert "the disk" in crate.fails("commit", "web", "site")
    after = sorted(path for path in (small_store / "root/images").rglob("*") if "locks" not in path.parts)
    assert after == before
    crate.ok("rm", "web")


def test_a_commit_that_is_killed_keeps_nobody_from_the_next(box, made: str) -> None:
    for delay in (0.05, 0.1, 0.15, 0.2, 0.3):
        process = box.crate.start("commit", made, "site", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert box.run("echo", "x") == "x"
    assert box.crate.ok("commit", made, "site")
    assert box.crate.ok("run", "--rm", "site", "cat", "/new") == "new"


def test_removing_the_container_meanwhile_makes_no_image_of_a_half(box) -> None:
    box.crate.ok("run", "--name", "web", box.image, "sh", "-c", "for n in $(seq 2000); do echo $n > /f$n; done")
    process = box.crate.start("commit", "web", "site", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(0.1)
    box.crate("rm", "-f", "web")
    code, said = process.wait(60), process.stderr.read().decode()
    process.stderr.close()
    if code:
        assert "removed" in said or "no container" in said, said
    else:
        assert box.crate.ok("run", "--rm", "site", "cat", "/f2000") == "2000"


def test_a_container_that_was_removed_is_not_called_damaged(root_box) -> None:
    """Whoever reads its files may have looked it up a moment before."""
    root_box.create("--name", "web", "@", "true")
    engine = Engine(locate(str(root_box.crate.root), str(root_box.crate.state)))
    container = engine.containers.get("web")
    root_box.crate.ok("rm", "web")
    with pytest.raises(NotFound, match="container web was removed meanwhile"):
        container_layers.changes(engine.paths, engine.images, container)


# --- instructions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "field", "value"),
    [
        (("CMD echo hi",), "Cmd", ["/bin/sh", "-c", "echo hi"]),
        (('CMD ["echo", "hi"]',), "Cmd", ["echo", "hi"]),
        (("entrypoint x",), "Cmd", None),
        (("CMD y", 'ENTRYPOINT ["x"]'), "Cmd", ["/bin/sh", "-c", "y"]),
        (("ENV A=1 B='2 3'",), "Env", ["PATH=/bin", "A=1", "B=2 3"]),
        (("ENV A 1 2",), "Env", ["PATH=/bin", "A=1 2"]),
        (("ENV PATH=/x:$PATH",), "Env", ["PATH=/x:/bin"]),
        (("ENV A=${NO:-d} B=${PATH:+y} C=\\$X",), "Env", ["PATH=/bin", "A=d", "B=y", "C=$X"]),
        (("EXPOSE 80 53/udp 8000-8001",), "ExposedPorts", {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}}),
        (("VOLUME /a /b", 'VOLUME ["/c d"]'), "Volumes", {"/a": {}, "/b": {}, "/c d": {}}),
        (("WORKDIR /a", "WORKDIR b/../c"), "WorkingDir", "/a/c"),
        (("ONBUILD RUN true",), "OnBuild", ["RUN true"]),
        (("STOPSIGNAL SIGINT",), "StopSignal", "SIGINT"),
        (("HEALTHCHECK NONE",), "Healthcheck", {"Test": ["NONE"]}),
        (
            ("HEALTHCHECK --interval=1m30s --retries=2 CMD curl x",),
            "Healthcheck",
            {"Interval": 90 * 10**9, "Retries": 2, "Test": ["CMD-SHELL", "curl x"]},
        ),
        (("USER a\nLABEL x=y",), "User", "a"),
        (("CMD a \\\nb",), "Cmd", ["/bin/sh", "-c", "a b"]),
    ],
)
def test_an_instruction_changes_its_field(lines: tuple[str, ...], field: str, value: object) -> None:
    assert instructions.apply({"Env": ["PATH=/bin"], "Cmd": ["sh"]}, lines)[field] == value


@pytest.mark.parametrize(
    "line",
    ["", "RUN x", "CMD", "ENV", "ENV A", "ENV =x", "EXPOSE 0", "EXPOSE 70000", "EXPOSE 9-8", "STOPSIGNAL NO", "ONBUILD FROM x",
     "HEALTHCHECK", "HEALTHCHECK x", "HEALTHCHECK --no=1 CMD x", "HEALTHCHECK --retries=x CMD x", "LABEL 'x", 'VOLUME [""]'],
)  # fmt: skip
def test_what_is_no_instruction_is_refused(line: str) -> None:
    if line:
        with pytest.raises(InvalidValue):
            instructions.apply({}, [line])
    else:
        assert instructions.apply({"A": 1}, [line]) == {"A": 1}
