"""Volumes: made by name or without one, filled from the image, had by several containers, removed with the last of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support.commands import Crate
from support.images import Image, Tree
from support.ready import Ready

LISTED = "cd /data; find . | sort | xargs stat -c '%n %u:%g %a %F'"
FILLED = """. 1000:1001 750 directory
./link 0:0 777 symbolic link
./one 1000:1001 640 regular file
./sub 0:0 1777 directory
./sub/program 0:0 4755 regular file
./two 1000:1001 640 regular file"""


@pytest.fixture
def filled_image(busybox_base: Image) -> Image:
    """An image with files in /data, which it says is a volume, and in /plain; /owned is empty and somebody's."""
    tree = Tree().directory("data", mode=0o750, uid=1000, gid=1001).file("data/one", "1", mode=0o640, uid=1000, gid=1001)
    tree.hardlink("data/two", "data/one").symlink("data/link", "/etc/passwd").directory("data/sub", mode=0o1777)
    tree.file("data/sub/program", "x", mode=0o4755).directory("plain").file("plain/file", "plain")
    tree.directory("owned", mode=0o700, uid=70, gid=71)
    image = busybox_base.changed(Volumes={"/data": {}})
    return replace(image, layers=(*image.layers, tree.layer()))


@pytest.fixture
def full(crate: Crate, filled_image: Image, put: Callable[[Crate, Image], Ready]) -> Ready:
    return put(crate, filled_image)


def volumes(box: Ready) -> list[str]:
    return box.crate.ok("volume", "ls", "-q").split()


def inspected(box: Ready, name: str) -> dict[str, object]:
    return json.loads(box.crate.ok("volume", "inspect", name))[0]  # type: ignore[no-any-return]


# --- the verbs -------------------------------------------------------------------------------------------------------


def test_a_volume_is_made_listed_shown_and_removed(box) -> None:
    assert box.crate.ok("volume", "create", "--label", "a=b", "data") == "data"
    document = inspected(box, "data")
    assert list(document) == ["CreatedAt", "Driver", "Labels", "Mountpoint", "Name", "Options", "Scope"]
    assert (document["Driver"], document["Labels"], document["Options"]) == ("local", {"a": "b"}, None)
    assert Path(str(document["Mountpoint"])) == box.crate.root / "volumes/data/_data"
    assert box.crate.ok("volume", "ls").split() == ["DRIVER", "VOLUME", "NAME", "local", "data"]
    assert json.loads(box.crate.ok("inspect", "data"))[0] == document
    assert box.crate.ok("volume", "rm", "data") == "data"
    assert volumes(box) == []
    assert os.listdir(box.crate.root / "volumes") == []


def test_one_that_is_there_is_as_good_unless_it_is_another(box) -> None:
    box.crate.ok("volume", "create", "--label", "a=b", "data")
    assert box.crate.ok("volume", "create", "data") == "data"
    assert box.crate.ok("volume", "create", "-l", "a=b", "data") == "data"
    assert "with other labels" in box.crate.fails("volume", "create", "-l", "a=c", "data")
    assert "with other options" in box.crate.fails("volume", "create", "-o", "type=tmpfs", "data")
    assert "with other labels" in box.fails("--mount", "src=data,dst=/x,volume-label=x=y", "@", "true")
    assert box.crate.ok("volume", "create", "--ignore", "-l", "a=c", "data") == "data"
    assert inspected(box, "data")["Labels"] == {"a": "b"}


def test_without_a_name_it_gets_one(box) -> None:
    name = box.crate.ok("volume", "create")
    assert len(name) == 64
    assert inspected(box, name)["Labels"] == {"com.docker.volume.anonymous": ""}


@pytest.mark.parametrize("name", ["", "a", "-ab", "a/b", "../ab", "a b", "x" * 256, "\x1b[31m", ".ab"])
def test_a_name_that_cannot_be_one_is_refused(root_box, name: str) -> None:
    root_box.crate.fails("volume", "create", "--", name)
    assert "no volume" in root_box.crate.fails("volume", "inspect", "--", name, code=1)
    assert not (root_box.crate.root / "volumes").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("size=1m",), "cannot have a size"),
        (("colour=red",), "no such option"),
        (("type=ext4",), "needs a device"),
        (("o=size=1m",), "type of the volume is missing"),
        (("type=none", "o=bind", "device=relative"), "not an absolute path"),
        (("type=none", "o=bind,shout", "device=/srv"), "no such option of a bind mount"),
        (("type=proc", "device=proc"), "no file system for a volume"),
        (("type=../x", "device=x"), "no file system for a volume"),
    ],
)
def test_an_option_that_cannot_be_is_refused(root_box, options: tuple[str, ...], why: str) -> None:
    flags = [word for option in options for word in ("--opt", option)]
    assert why in root_box.crate.fails("volume", "create", *flags, "data")
    assert volumes(root_box) == []


def test_a_driver_that_is_not_there_is_refused(root_box) -> None:
    assert "no driver of volumes nfs" in root_box.crate.fails("volume", "create", "-d", "nfs", "data")
    assert "no driver of volumes nfs" in root_box.fails("--volume-driver", "nfs", "@", "true")
    assert root_box.run("--volume-driver", "local", "-v", "data:/x", "@", "echo", "good") == "good"


def test_a_file_system_that_takes_root_is_refused_without(user_box) -> None:
    said = user_box.crate.fails("volume", "create", "-o", "type=nfs", "-o", "device=:/x", "data")
    assert "mounting a file system of type nfs takes root" in said


def test_the_list_is_filtered_by_dockers_words(box) -> None:
    for name, label in (("data-1", "a=1"), ("data-2", "a=2"), ("other", "b")):
        box.crate.ok("volume", "create", "-l", label, name)
    box.create("-v", "data-1:/x", "@", "true")
    words = {
        ("name=data",): ["data-1", "data-2"],
        ("label=a",): ["data-1", "data-2"],
        ("label=a=2",): ["data-2"],
        ("label!=a",): ["other"],
        ("dangling=true",): ["data-2", "other"],
        ("dangling=0",): ["data-1"],
        ("dangling=0", "dangling=1"): ["data-1", "data-2", "other"],
        ("driver=local", "name=other"): ["other"],
        ("driver=nfs",): [],
    }
    for given, names in words.items():
        flags = [word for text in given for word in ("-f", text)]
        assert box.crate.ok("volume", "ls", "-q", *flags).split() == names, given
    assert "no such filter" in box.crate.fails("volume", "ls", "-f", "colour=red")
    shape = '{{.Name}} {{.Label "a"}} {{.Scope}}'
    assert box.crate.ok("volume", "ls", "-f", "name=data-1", "--format", shape) == "data-1 1 local"


def test_removing_what_is_not_there_is_an_error_save_with_force(box) -> None:
    box.crate.ok("volume", "create", "data")
    assert "no volume nope" in box.crate.fails("volume", "rm", "nope", "data", code=1)
    assert volumes(box) == []
    assert box.crate.ok("volume", "rm", "-f", "nope") == "nope"


def test_one_in_use_stays_and_it_is_told_by_whom(box) -> None:
    box.create("--name", "web", "-v", "data:/x", "@", "true")
    for flags in ((), ("-f",)):
        assert "volume data is in use by web" in box.crate.fails("volume", "rm", *flags, "data", code=1)
    box.crate.ok("rm", "-v", "web")
    assert volumes(box) == ["data"]
    box.crate.ok("volume", "rm", "data")


def test_prune_takes_what_has_no_name_and_with_all_the_rest(box) -> None:
    for name in ("kept", "used", "free"):
        box.crate.ok("volume", "create", "-l", f"is={name}", name)
    box.create("--name", "web", "-v", "used:/x", "-v", "/y", "@", "true")
    anonymous = box.crate.ok("volume", "create")
    assert "WARNING! This will remove anonymous local volumes" in box.crate("volume", "prune", input="n\n").stdout
    assert anonymous in volumes(box)
    said = box.crate.ok("volume", "prune", "-f")
    assert said.splitlines() == ["Deleted Volumes:", anonymous, "", "Total reclaimed space: 0B"]
    box.crate.ok("volume", "prune", "-af", "--filter", "label!=is=kept")
    assert {"kept", "used"} < set(volumes(box))
    assert len(volumes(box)) == 3
    box.crate.ok("volume", "prune", "-f", "--filter", "all=true")
    assert "kept" not in volumes(box)


def test_its_size_and_its_users_are_told(box) -> None:
    box.run("-v", "data:/x", "@", "sh", "-c", "head -c 5000 /dev/zero > /x/f; mkdir -m 0 /x/closed; chown 5:5 /x/closed")
    box.create("-v", "data:/x", "@", "true")
    row = next(line for line in box.crate.ok("system", "df").splitlines() if line.startswith("Local Volumes"))
    assert row.split()[2:] == ["1", "1", "5kB", "0B", "(0%)"]
    listed = json.loads(box.crate.ok("system", "df", "-v", "--format", "json"))
    assert listed["Volumes"] == [{"Name": "data", "Links": 1, "Size": "5kB"}]
    assert listed["Containers"][0]["LocalVolumes"] == 1


def test_what_happens_to_volumes_is_told(box) -> None:
    box.run("-v", "data:/x:ro", "@", "true")
    box.crate.ok("volume", "rm", "data")
    shape = '{{.Action}} {{.Actor.ID}}{{with index .Actor.Attributes "read/write"}} {{.}}{{end}}'
    said = box.crate.ok("events", "--since", "24h", "--until", "0s", "-f", "type=volume", "--format", shape)
    assert said.splitlines() == ["create data", "mount data false", "unmount data", "destroy data"]
    assert "create" in box.crate.ok("events", "--since", "24h", "--until", "0s", "-f", "volume=data")


# --- in containers ---------------------------------------------------------------------------------------------------


def test_what_one_container_writes_the_next_one_finds(box) -> None:
    box.run("-v", "data:/x", "@", "sh", "-c", "echo word > /x/file")
    assert box.run("-v", "data:/y:ro", "@", "cat", "/y/file") == "word"
    assert "Read-only" in box.fails("-v", "data:/y:ro", "@", "touch", "/y/z", code=1)
    assert box.run("--mount", "source=data,target=/z,readonly", "@", "cat", "/z/file") == "word"
    assert volumes(box) == ["data"]


def test_an_empty_one_begins_with_what_the_image_has_there(full) -> None:
    assert full.run("-v", "named:/data", "@", "sh", "-c", LISTED) == FILLED
    assert full.run("-v", "named:/data", "@", "sh", "-c", "stat -c %i /data/one; stat -c %i /data/two | uniq").count("\n") == 1
    assert full.run("-v", "named:/elsewhere", "@", "cat", "/elsewhere/one") == "1"
    assert full.run("-v", "named:/plain", "@", "ls", "/plain").split() == ["link", "one", "sub", "two"]


def test_a_directory_without_files_gives_its_owner_and_mode(full) -> None:
    assert full.run("-v", "named:/owned", "@", "stat", "-c", "%u:%g %a", "/owned") == "70:71 700"
    assert full.run("-v", "new:/not/there", "@", "stat", "-c", "%u:%g %a", "/not/there") == "0:0 755"


def test_nocopy_begins_empty(full) -> None:
    assert full.run("-v", "named:/data:nocopy", "@", "ls", "/data") == ""
    assert full.run("--mount", "src=other,dst=/data,volume-nocopy", "@", "ls", "/data") == ""


def test_what_a_container_deletes_does_not_come_back(full) -> None:
    name = full.create("-v", "named:/plain", "@", "sh", "-c", "ls /plain; rm -rf /plain/*")
    assert full.crate.ok("start", "-a", name) == "file"
    assert full.crate.ok("start", "-a", name) == ""
    assert full.run("-v", "named:/plain", "@", "ls", "/plain") == "file"  # a new container fills an empty one, as with Docker


def test_an_images_volume_is_one_without_a_name(full) -> None:
    name = full.create("@", "sh", "-c", LISTED)
    (volume,) = volumes(full)
    assert full.crate.ok("start", "-a", name) == FILLED
    mounted = full.crate.json("inspect", name)[0]["Mounts"]  # type: ignore[index]
    assert mounted == [
        {
            "Type": "volume", "Name": volume, "Source": f"{full.crate.root}/volumes/{volume}/_data", "Destination": "/data",
            "Driver": "local", "Mode": "", "RW": True, "Propagation": "",
        }
    ]  # fmt: skip
    full.crate.ok("rm", name)
    assert volumes(full) == [volume]


def test_what_is_mounted_there_takes_its_place(full) -> None:
    assert full.run("--tmpfs", "/data", "@", "ls", "/data") == ""
    assert full.run("-v", "/etc:/data:ro", "@", "test", "-e", "/data/passwd") == ""
    assert volumes(full) == []


@pytest.mark.parametrize("how", ["run --rm", "rm -v", "rm -f --rm", "kill"])
def test_those_without_a_name_go_with_their_container(box, until, how: str) -> None:
    flags = ("--name", "web", "-v", "/anonymous", "-v", "named:/x")
    if how == "run --rm":
        box.run(*flags, "@", "true")
    elif how == "rm -v":
        box.create(*flags, "@", "true")
        box.crate.ok("rm", "-v", "web")
    else:
        box.detached("--rm", *flags, "@", "sleep", "100")
        box.crate.ok(*(("rm", "-f", "web") if how == "rm -f --rm" else ("kill", "web")))
    until(lambda: volumes(box) == ["named"])
    until(lambda: os.listdir(box.crate.root / "volumes") == ["named"])


def test_a_run_that_cannot_start_leaves_none(box) -> None:
    box.fails("-v", "/anonymous", "@", "/no/such/program", code=127)
    assert volumes(box) == []
    box.create("--name", "taken", "@", "true")
    box.fails("--name", "taken", "-v", "named:/x", "-v", "/y", "@", "true")
    assert volumes(box) == []


def test_volumes_from_another_container_are_the_same(full) -> None:
    full.detached("--name", "first", "-v", "named:/x", "@", "sleep", "100")
    try:
        full.run("--volumes-from", "first", "@", "sh", "-c", "echo word > /data/new; echo word > /x/new")
        assert full.crate.ok("exec", "first", "cat", "/data/new", "/x/new").split() == ["word", "word"]
        assert "Read-only" in full.fails("--volumes-from", "first:ro", "@", "touch", "/data/z", code=1)
        full.create("--name", "second", "--volumes-from", "first", "@", "cat", "/data/new")
    finally:
        full.crate.ok("rm", "-f", "-v", "first")
    assert len(volumes(full)) == 2
    assert full.crate.ok("start", "-a", "second") == "word"
    full.crate.ok("rm", "-v", "second")
    assert volumes(full) == ["named"]


def test_a_path_in_a_volume_is_mounted_alone(box) -> None:
    script = "mkdir -p /x/a/b; echo deep > /x/a/b/file; chown -R 5:6 /x/a; chmod 700 /x/a; ln -s a/b /x/within"
    box.run("-v", "data:/x", "@", "sh", "-c", script)
    assert box.run("--mount", "src=data,dst=/t,volume-subpath=a/b", "@", "ls", "/t") == "file"
    assert box.run("--mount", "src=data,dst=/t,volume-subpath=within", "@", "cat", "/t/file") == "deep"
    assert box.run("--mount", "src=data,dst=/t,volume-subpath=a/b/file", "@", "cat", "/t") == "deep"
    assert "no such file or directory" in box.fails("--mount", "src=data,dst=/t,volume-subpath=nope", "@", "true")


def test_u_gives_what_is_mounted_to_the_user(box) -> None:
    box.run("-v", "data:/x", "@", "sh", "-c", "mkdir /x/d; touch /x/d/f; ln -s /etc/passwd /x/link; chmod 700 /x/d")
    script = "touch /x/d/g; stat -c %u:%g /x /x/d /x/d/f /x/link"
    assert box.run("-v", "data:/x:U", "-u", "alice", "@", "sh", "-c", script).split() == ["1000:1000"] * 4


def test_options_of_a_mount_come_to_a_volume(box) -> None:
    said = box.run("-v", "data:/x:noexec,nosuid,nodev,Z", "@", "grep", " /x ", "/proc/mounts")
    assert {"noexec", "nosuid", "nodev"} <= set(said.split()[3].split(","))


def test_cp_sees_volumes_of_containers_that_do_not_run(full, tmp_path) -> None:
    name = full.create("-v", "named:/x", "@", "cat", "/data/new", "/data/one")
    word = full.crate.directory / "word"
    word.write_text("new")
    word.chmod(0o644)
    full.crate.ok("cp", word, f"{name}:/data/new")
    assert full.crate.ok("start", "-a", name) == "new1"
    assert "data/one" in full.crate.ok("cp", f"{name}:/data", "-")


def test_commit_export_and_diff_are_without_what_is_in_volumes(full, tmp_path) -> None:
    name = full.create(
        "-v", "/anonymous", "-v", "named:/x", "@", "sh", "-c", "echo secret > /data/canary; echo secret > /x/canary"
    )
    full.crate.ok("start", "-a", name)
    assert "canary" not in full.crate.ok("diff", name)
    archive = full.crate.directory / "files.tar"
    full.crate.ok("export", name, "-o", archive)
    assert "canary" not in subprocess.run(["tar", "-tf", archive], capture_output=True, text=True, check=True).stdout
    full.crate.ok("commit", name, "made")
    assert full.crate.json("image", "inspect", "made")[0]["Config"]["Volumes"] == {"/data": {}, "/anonymous": {}}  # type: ignore[index]


def test_ps_and_inspect_tell_of_volumes(box) -> None:
    box.create(
        "--name",
        "web",
        "-v",
        "data:/x:ro",
        "-v",
        "/y",
        "--mount",
        "src=sub,dst=/z,volume-subpath=a,volume-label=k=v",
        "@",
        "true",
    )
    assert box.crate.ok("ps", "-a", "--filter", "volume=data", "--format", "{{.Names}} {{.LocalVolumes}}") == "web 3"
    assert box.crate.ok("ps", "-a", "--filter", "volume=/y", "--format", "{{.Names}}") == "web"
    document = box.crate.json("inspect", "web")[0]  # type: ignore[index]
    assert document["HostConfig"]["Binds"] == ["data:/x:ro"]
    assert document["HostConfig"]["Mounts"][0]["VolumeOptions"]["Subpath"] == "a"
    assert document["Config"]["Volumes"] == {"/y": {}}
    assert [(one["Type"], one["Destination"], one["RW"]) for one in document["Mounts"]] == [
        ("volume", "/x", False), ("volume", "/y", True), ("volume", "/z", True),
    ]  # fmt: skip
    assert inspected(box, "sub")["Labels"] == {"k": "v"}


def test_a_volume_over_etc_has_the_files_of_crate_on_it(box) -> None:
    assert "localhost" in box.run("-v", "data:/etc", "@", "sh", "-c", "test -e /etc/passwd && cat /etc/hosts")


def test_a_volume_that_is_lost_is_not_made_anew_behind_a_containers_back(root_box) -> None:
    name = root_box.create("-v", "data:/x", "@", "true")
    root_box.crate.ok("start", "-a", name)
    subprocess.run(["rm", "-r", root_box.crate.root / "volumes/data"], check=True)
    assert "the volume data, for /x, is gone" in root_box.crate.fails("start", "-a", name)
    assert "its volume data, for /x, is gone" in root_box.crate("system", "check").stdout
    root_box.crate.ok("volume", "create", "data")
    root_box.crate.ok("start", "-a", name)


def test_nothing_is_removed_while_nobody_knows_who_has_what(root_box) -> None:
    name = root_box.create("-v", "data:/x", "@", "true")
    record = root_box.crate.root / "containers" / name / "container.json"
    kept = record.read_bytes()
    record.write_bytes(kept[: len(kept) // 2])
    for words in (("volume", "rm", "data"), ("volume", "prune", "-af")):
        said = root_box.crate(*words)
        assert said.returncode in (1, 125)
        assert "nobody knows which volumes it has" in said.stderr
    record.write_bytes(kept)
    assert root_box.crate.ok("start", "-a", name) == ""
    assert volumes(root_box) == ["data"]


# --- volumes that are no directories of crate's ----------------------------------------------------------------------


def test_a_volume_may_be_a_directory_of_the_machine(box) -> None:
    place = box.crate.directory / "shown"
    place.mkdir()
    place.joinpath("file").write_text("there")
    place.chmod(0o755)
    box.crate.ok("volume", "create", "-o", "type=none", "-o", "o=bind,ro", "-o", f"device={place}", "data")
    assert box.run("-v", "data:/x", "@", "cat", "/x/file") == "there"
    assert "Read-only" in box.fails("-v", "data:/x", "@", "touch", "/x/new", code=1)
    box.crate.ok("volume", "rm", "data")
    assert place.joinpath("file").exists()
    box.crate.ok("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/no/where", "other")
    assert "there is no directory /no/where here" in box.fails("-v", "other:/x", "@", "true")


def test_memory_is_shared_by_those_who_run_and_gone_with_them(box) -> None:
    box.crate.ok("volume", "create", "-o", "type=tmpfs", "-o", "o=size=1m,mode=755", "memory")
    box.detached("--name", "first", "-v", "memory:/m", "@", "sh", "-c", "echo word > /m/file; sleep 100")
    try:
        assert box.run("-v", "memory:/n:ro", "@", "sh", "-c", "until cat /n/file; do :; done 2>/dev/null") == "word"
        assert "Read-only" in box.fails("-v", "memory:/n:ro", "@", "touch", "/n/z", code=1)
        box.run("-v", "memory:/n", "@", "touch", "/n/new")
        assert box.crate.ok("exec", "first", "ls", "/m").split() == ["file", "new"]
        assert "size=1024k" in box.crate.ok("exec", "first", "grep", " /m ", "/proc/mounts")
    finally:
        box.crate.ok("rm", "-f", "first")
    assert box.run("-v", "memory:/n", "@", "ls", "/n") == ""
    assert str(box.crate.root) not in Path("/proc/self/mountinfo").read_text()


def test_a_volume_without_files_of_its_own_is_not_exported(box) -> None:
    box.crate.ok("volume", "create", "-o", "type=tmpfs", "memory")
    assert "in no directory" in box.crate.fails("volume", "export", "memory", "-o", box.crate.directory / "x.tar")
    assert not (box.crate.directory / "x.tar").exists()


def test_of_root_a_volume_has_the_containers_ids_on_the_disk(root_box, granted) -> None:
    words = ("run", "--rm", "--userns", "auto:size=5000", "-v", "data:/home", root_box.image, "sh", "-c")
    granted.ok(*words, "touch /home/made; chown 42:43 /home/made")
    info = os.lstat(root_box.crate.root / "volumes/data/_data/made")
    assert (info.st_uid, info.st_gid) == (42, 43)
    assert granted.ok(*words, "stat -c %u:%g /home/made /home/alice") == "42:43\n0:0"
    assert root_box.run("-v", "data:/x", "@", "stat", "-c", "%u:%g", "/x/made") == "42:43"


def test_the_ids_of_a_mount_can_be_mapped(root_box) -> None:
    place = root_box.crate.directory / "shown"
    place.mkdir()
    place.joinpath("file").touch()
    os.chown(place / "file", 10, 11)
    flags = ("-v", f"{place}:/x:idmap=uids=10-1000-5;gids=11-2000-1")
    assert root_box.run(*flags, "@", "stat", "-c", "%u:%g", "/x/file") == "1000:2000"
    assert "no IDs of its own" in root_box.fails("-v", f"{place}:/x:idmap", "@", "true")


def test_mapping_the_ids_of_a_mount_takes_root(user_box) -> None:
    assert "takes root" in user_box.fails("-v", "data:/x:idmap", "@", "true")


# --- archives --------------------------------------------------------------------------------------------------------


def test_a_volume_goes_through_an_archive_as_it_was(full) -> None:
    full.run("-v", "first:/data", "@", "true")
    archive = full.crate.directory / "data.tar"
    full.crate.ok("volume", "export", "first", "-o", archive)
    full.crate.ok("volume", "create", "second")
    full.crate.ok("volume", "import", "second", archive)
    assert full.run("-v", "second:/data:nocopy", "@", "sh", "-c", LISTED) == FILLED


def test_an_archive_comes_and_goes_by_the_standard_streams(box) -> None:
    box.run("-v", "first:/x", "@", "sh", "-c", "echo word > /x/file")
    box.crate.ok("volume", "create", "second")
    sent = box.crate.start("volume", "export", "first", stdout=subprocess.PIPE)
    box.crate.ok("volume", "import", "second", "-", stdin=sent.stdout)
    assert sent.wait() == 0
    sent.stdout.close()
    assert box.run("-v", "second:/x", "@", "cat", "/x/file") == "word"


def test_what_cannot_be_read_is_said(box) -> None:
    box.crate.ok("volume", "create", "data")
    assert "cannot read /no/where" in box.crate.fails("volume", "import", "data", "/no/where")
    assert "no volume other" in box.crate.fails("volume", "import", "other", "-", stdin=subprocess.DEVNULL)
    assert "no volume other" in box.crate.fails("volume", "export", "other", "-o", box.crate.directory / "x")
    assert "cannot write" in box.crate.fails("volume", "export", "data", "-o", "/no/where/x")
