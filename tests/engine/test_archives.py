"""`crate save`, `load` and `import`: images that go through files and pipes, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cratebox.image import locks
from support.commands import Crate
from support.images import Image, Layer, Tree, write_docker_archive
from support.ready import Ready

NAME = "docker.io/library/site:1"


@pytest.fixture
def named(box: Ready) -> Crate:
    """A store with busybox and an image of a layer more, site:1, which says what it is."""
    box.crate.ok("run", "--name", "made", box.image, "sh", "-c", "echo here > /mark; chown 5:6 /mark; chmod 4711 /mark")
    box.crate.ok("commit", "-c", 'CMD ["cat", "/mark"]', "made", "site:1")
    box.crate.ok("rm", "made")
    return box.crate


def place(crate: Crate, name: str) -> Path:
    """Return a path that the person of `crate` may write."""
    return crate.directory / name


def other(crate: Crate) -> Crate:
    """Return the same crate with a second store."""
    return crate.within((), CRATE_ROOT=str(place(crate, "second")))


def identity(crate: Crate, name: str) -> tuple[str, str]:
    (document,) = crate.json("image", "inspect", name)
    return document["Id"], document["Metadata"]["ManifestDigest"]


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_an_image_goes_from_one_store_to_another_as_it_is(named: Crate, form: str) -> None:
    target = place(named, "archive")
    assert named.ok("save", "--format", form, "-o", target, "site:1") == ""
    assert target.stat().st_mode & 0o077 == 0
    there = other(named)
    assert there.ok("load", "-i", target) == "Loaded image: site:1"
    assert identity(there, "site:1") == identity(named, "site:1")
    assert there.ok("run", "--rm", "site:1") == "here"
    assert there.ok("run", "--rm", "site:1", "stat", "-c", "%u:%g %a", "/mark") == "5:6 4711"


def test_it_goes_through_a_pipe(named: Crate) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as between:
        saving = named.start("save", "site:1", stdout=between.stdin, stderr=subprocess.PIPE)
        between.stdin.close()
        assert other(named).ok("load", stdin=between.stdout) == "Loaded image: site:1"
        assert saving.wait(60) == 0
        saving.stderr.close()
    assert other(named).ok("run", "--rm", "site:1") == "here"


def test_standard_output_and_a_file_get_the_same_bytes_each_time(named: Crate) -> None:
    named.ok("save", "-o", place(named, "first"), "site:1")
    with place(named, "second.tar").open("wb") as file:
        assert named("save", "site:1", stdout=file, stderr=None, capture_output=False, text=None).returncode == 0
    assert place(named, "first").read_bytes() == place(named, "second.tar").read_bytes()


def test_a_name_without_a_tag_means_all_tags_and_an_id_none(named: Crate) -> None:
    document = identity(named, "site:1")
    named.ok("load", "-i", _named(named, document[0], "site:2", "other:1"))
    for words, expected in (
        (["site"], ["site:1", "site:2"]),
        (["site:2"], ["site:2"]),
        (["site:1", "other:1"], ["other:1", "site:1"]),
        ([document[0]], []),
        ([document[0][7:19], "site:1"], ["site:1"]),
    ):
        named.ok("save", "-o", place(named, "archive"), *words)
        with tarfile.open(place(named, "archive")) as tar:
            (listed,) = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert sorted(name.removeprefix("docker.io/library/") for name in listed["RepoTags"]) == expected


def _named(crate: Crate, image: str, *names: str) -> Path:
    """Return an archive of an image that is in the store, with other names."""
    crate.ok("save", "-o", place(crate, "plain"), image)
    target = place(crate, "named")
    with tarfile.open(place(crate, "plain")) as tar, tarfile.open(target, "w") as out:
        for member in tar:
            if member.name == "manifest.json":
                raw = json.dumps([{**json.load(tar.extractfile(member))[0], "RepoTags": names}]).encode()  # type: ignore[arg-type]
                member.size = len(raw)
                import io

                out.addfile(member, io.BytesIO(raw))
            else:
                out.addfile(member, tar.extractfile(member))
    target.chmod(0o644)
    return target


def test_several_images_keep_what_they_share_once(named: Crate, box: Ready) -> None:
    named.ok("save", "-o", place(named, "archive"), "site:1", box.image)
    there = other(named)
    said = there.ok("load", "-q", "-i", place(named, "archive")).splitlines()
    assert said == ["Loaded image: site:1", f"Loaded image ID: sha256:{box.image}"]
    with tarfile.open(place(named, "archive")) as tar:
        assert len(set(tar.getnames())) == len(tar.getnames())


def test_what_fails_leaves_no_file(named: Crate) -> None:
    def fails(*words: str) -> str:
        before = sorted(os.listdir(named.directory))
        said = named.fails("save", *words)
        assert len(said.splitlines()) <= 2, said
        assert sorted(os.listdir(named.directory)) == before
        return said

    target = str(place(named, "archive"))
    assert "not in the store" in fails("-o", target, "site:1", "nothing")
    assert "s390x" in fails("-o", target, "--platform", "linux/s390x", "site:1")
    assert "No such file" in fails("-o", target + "/no/such", "site:1")
    assert "standard output" in fails("--format", "oci-dir", "site:1")
    assert "docker-dir" in fails("--format", "docker-dir", "-o", target, "site:1")
    blob = max((named.root / "images/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    assert "damaged" in fails("-o", target, "site:1")
    assert "damaged" in fails("--format", "oci-dir", "-o", target, "site:1")


def test_a_directory_that_has_something_in_it_is_left_alone(named: Crate) -> None:
    place(named, "layout").mkdir()
    place(named, "layout/mine").write_text("mine")
    assert "there is something in it" in named.fails("save", "--format", "oci-dir", "-o", place(named, "layout"), "site:1")
    assert os.listdir(place(named, "layout")) == ["mine"]


@pytest.mark.parametrize(
    "words", [["save", "site:1"], ["save", "-o", "", "site:1"], ["load"], ["load", "-i", ""], ["import", "-"]]
)
def test_no_archive_goes_to_a_terminal_or_comes_from_one(named: Crate, words: list[str]) -> None:
    """An empty path is none, as with Docker."""
    inner, outer = pty.openpty()
    try:
        process = named.start(*words, stdin=outer, stdout=outer, stderr=subprocess.PIPE)
        _, said = process.communicate(timeout=60)
    finally:
        os.close(inner)
        os.close(outer)
    assert process.returncode == 125
    assert b"terminal" in said


def test_a_full_device_is_told(named: Crate) -> None:
    with Path("/dev/full").open("wb") as full:
        done = named("save", "site:1", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 125
    assert "No space left" in done.stderr


def test_a_reader_that_goes_away_ends_it_silently(named: Crate) -> None:
    process = named.start("save", "site:1", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1)
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 141


# What does not come in whole does not come in.


@pytest.fixture
def large(scratch: Path, word: str) -> tuple[Path, Image]:
    """An archive of 20 MB in three layers that do not compress, and what is in it."""
    layers = tuple(Layer.of_tar(Tree().file(f"f{n}", os.urandom(7 << 20)).tar()) for n in range(3))
    image = Image(layers, {"Cmd": ["sh"]})
    path = write_docker_archive(scratch / f"{word}.tar", "large:1", image)
    path.chmod(0o644)
    return path, image


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_load_that_is_killed_leaves_a_store_that_works(
    box: Ready, large: tuple[Path, Image], until: Callable[..., object], which: int
) -> None:
    """One of its layers is held up, so that it cannot have ended before."""
    crate, (path, image) = box.crate, large
    lock = crate.root / "images/locks" / image.layers[which].diff_id.replace(":", "-")
    lock.touch(mode=0o600)
    os.chown(lock, crate.person.uid, crate.person.gid)
    others = {layer.diff_id.removeprefix("sha256:") for n, layer in enumerate(image.layers) if n != which}
    with locks.hold(str(lock.parent), lock.name):
        process = crate.start("load", "-q", "-i", path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: others & set(os.listdir(crate.root / "images/blobs/sha256")), 120)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert crate.ok("images", "-q", "--no-trunc") == f"sha256:{box.image}"
    assert crate.ok("load", "-i", path) == "Loaded image: large:1"
    crate.ok("rmi", "large:1")
    crate.ok("system", "prune", "-f")
    assert os.listdir(crate.root / "images/blobs/.partial") == []
    assert os.listdir(crate.root / "images/layers") == []  # busybox, which has no name, went as well


def test_a_disk_that_fills_up_is_told_and_nothing_is_there(
    rootful: Crate, large: tuple[Path, Image], tmpfs: Callable[..., Path]
) -> None:
    path, image = large
    crate = rootful.within((), CRATE_ROOT=str(tmpfs("80m")))
    for words in (["load", "-i", str(path)], ["import", str(path)]):
        said = crate.fails(*words)
        assert "space" in said
        assert len(said.splitlines()) <= 2, said
        assert crate.ok("images", "-q") == ""
        crate.ok("system", "prune", "-f")
    crate = rootful.within((), CRATE_ROOT=str(tmpfs("10m")))
    assert "larger than what the disk has free" in _piped(crate, path)
    assert crate.ok("images", "-q") == ""
    crate = rootful.within((), CRATE_ROOT=str(tmpfs("200m")))
    assert crate.ok("load", "-i", path) == "Loaded image: large:1"
    assert crate.ok("images", "-q", "--no-trunc") == image.id


def test_an_archive_that_does_not_fit_is_not_there(
    rootful: Crate, large: tuple[Path, Image], tmpfs: Callable[..., Path]
) -> None:
    rootful.ok("load", "-i", large[0])
    place = tmpfs("10m")
    for form in ("docker-archive", "oci-dir"):
        assert "No space left" in rootful.fails("save", "--format", form, "-o", place / "archive", "large:1")
        assert os.listdir(place) == []


@pytest.fixture
def tmpfs(rootful: Crate) -> Iterator[Callable[..., Path]]:
    """A function that makes a file system of a size."""
    made: list[Path] = []

    def make(size: str) -> Path:
        made.append(rootful.directory / f"tmpfs-{size}")
        made[-1].mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(made[-1])], check=True)
        return made[-1]

    yield make
    for path in made:
        subprocess.run(["umount", "-l", str(path)], check=True)


def _piped(crate: Crate, path: Path) -> str:
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as cat:
        said = crate.fails("load", stdin=cat.stdout)
        cat.kill()
    return said


def test_many_loads_of_one_archive_at_once_are_one_image(crate: Crate, large: tuple[Path, Image]) -> None:
    path, image = large
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: crate("load", "-q", "-i", path), range(4)))
    assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]
    assert {one.stdout for one in done} == {"Loaded image: large:1\n"}
    assert crate.ok("images", "-q", "--no-trunc") == image.id
    assert crate.ok("system", "check") == "nothing is damaged"


def test_loads_saves_and_removals_at_once_disturb_nobody(crate: Crate, large: tuple[Path, Image]) -> None:
    path, _image = large

    def turn(number: int) -> subprocess.CompletedProcess[str]:
        target = crate.directory / f"saved-{number}"
        words = (["load", "-q", "-i", str(path)], ["save", "-o", str(target), "large:1"], ["rmi", "large:1"])[number % 3]
        return crate(*words)

    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(turn, range(12)))
    for one in done:
        assert one.returncode == 0 or "not in the store" in one.stderr or "removed meanwhile" in one.stderr, one.stderr
    assert crate.ok("load", "-i", path) == "Loaded image: large:1"
    assert crate.ok("system", "check") == "nothing is damaged"


# rmi


def test_rmi_tells_what_docker_tells(named: Crate, box: Ready) -> None:
    (document,) = named.json("image", "inspect", "site:1")
    named.ok("tag", "site:1", "other:2")
    assert named.ok("rmi", "site:1") == "Untagged: site:1"
    base, own = document["RootFS"]["Layers"]
    assert named.ok("rmi", "other:2").splitlines() == ["Untagged: other:2", f"Deleted: {document['Id']}", f"Deleted: {own}"]
    assert named.ok("rmi", box.image).splitlines() == [f"Deleted: sha256:{box.image}", f"Deleted: {base}"]


def test_rmi_can_leave_the_layers_until_a_prune(named: Crate, box: Ready) -> None:
    (document,) = named.json("image", "inspect", "site:1")
    directories = [named.root / "images/layers" / one.removeprefix("sha256:") for one in document["RootFS"]["Layers"]]
    said = named.ok("rmi", "--no-prune", "site:1")
    assert said.splitlines() == ["Untagged: site:1", f"Deleted: {document['Id']}"]
    assert "not in the store" in named.fails("image", "inspect", "site:1", code=1)
    assert [path.exists() for path in directories] == [True, True]
    assert named.ok("system", "check", "--quick") == "nothing is damaged"
    named.ok("rmi", "--no-prune", box.image)
    named.ok("image", "prune", "-f")
    assert [path.exists() for path in directories] == [False, False]


# import


def importing(crate: Crate, raw: bytes, *words: str) -> subprocess.CompletedProcess[str]:
    """Import what comes on standard input."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat, ThreadPoolExecutor(1) as pool:
        pool.submit(cat.stdin.write, raw).add_done_callback(lambda _done: cat.stdin.close())
        done = crate("import", *words, stdin=cat.stdout)
        cat.stdout.close()
    return done


def test_what_was_exported_is_imported_as_one_layer(named: Crate) -> None:
    name = named.ok("create", "site:1")
    named.ok("export", "-o", place(named, "root.tar"), name)
    said = named.ok("import", "-c", 'CMD ["cat", "/mark"]', "-c", "ENV A=b", "-m", "why", place(named, "root.tar"), "flat:1")
    assert identity(named, "flat:1")[0] == said
    assert named.ok("run", "--rm", "flat:1") == "here"
    assert named.ok("run", "--rm", "flat:1", "sh", "-c", "echo $A; stat -c '%u:%g %a' /mark") == "b\n5:6 4711"
    (document,) = named.json("image", "inspect", "flat:1")
    assert (document["Comment"], len(document["RootFS"]["Layers"])) == ("why", 1)


@pytest.mark.parametrize("squeeze", ["cat", "gzip", "xz", "bzip2"])
def test_the_layer_is_the_plain_tar_however_it_was_compressed(rootful: Crate, squeeze: str) -> None:
    tree = Tree().directory("bin").file("bin/x", "x")
    layer = tree.layer("none")
    packed = subprocess.run([squeeze], input=layer.data, capture_output=True, check=True).stdout
    done = importing(rootful, packed, "--platform", "linux/arm64", "-", "x:1")
    assert done.returncode == 0, done.stderr
    (document,) = rootful.json("image", "inspect", "x:1")
    assert document["RootFS"]["Layers"] == [layer.diff_id]
    assert (document["Architecture"], document["Comment"]) == ("arm64", "Imported from -")


def test_an_empty_root_is_an_image_as_well(rootful: Crate) -> None:
    done = importing(rootful, bytes(10240), "-", "scratch:1")
    assert done.returncode == 0, done.stderr
    said = rootful.fails("run", "--rm", "scratch:1", "nothing", code=127)
    assert "not found" in said
    assert "overlayfs" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["https://example.com/x.tar"], "crate fetches from registries alone"),
        (["no-such-file"], "No such file"),
        (["/etc/passwd"], "not a tar archive"),
        (["/etc"], "Is a directory"),
        (["/dev/null", "Bad"], "lower-case"),
        (["-c", "RUN true", "/dev/null"], "RUN"),
        (["--platform", "a/b/c/d", "/dev/null"], "platform"),
        (["/dev/null", "x@sha256:" + "0" * 64], "digest"),
    ],
)
def test_what_cannot_be_imported_is_told_and_nothing_is_there(rootful: Crate, words: list[str], said: str) -> None:
    told = rootful.fails("import", *words)
    assert said in told
    assert len(told.splitlines()) <= 2, told
    assert rootful.ok("images", "-aq") == ""


def test_a_root_that_leads_out_of_itself_is_refused(crate: Crate) -> None:
    raw = Tree().file("../../outside", "x").tar()
    done = importing(crate, raw, "-")
    assert done.returncode == 125
    assert crate.ok("images", "-q") == ""


def test_the_python_face_saves_and_loads(rootful: Crate, busybox_image: object, tmp_path: Path) -> None:
    from cratebox.engine.engine import Engine
    from cratebox.engine.importing import Wish
    from cratebox.paths import Paths

    engine = Engine(Paths(str(rootful.root), str(rootful.state), str(rootful.directory / "none.toml")))
    image = engine.images.pull(str(busybox_image))
    assert [one.id for one in engine.images.save([image.id], str(tmp_path / "f"))] == [image.id]
    assert [(one.image.id, one.names) for one in engine.images.load(str(tmp_path / "f"))] == [(image.id, ())]
    with (tmp_path / "f").open("rb") as file:
        assert engine.images.import_(file.fileno(), Wish("x:1")).names == ("docker.io/library/x:1",)
    engine.images.store.wait_until_settled()
