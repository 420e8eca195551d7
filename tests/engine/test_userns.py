"""Whose IDs a container has: --userns auto for root, keep-id for everybody else."""

from __future__ import annotations

import os
import stat

import pytest

from cratebox.engine.config import ContainerConfig, Namespaces
from cratebox.engine.id_ranges import kept, shifts
from cratebox.linux.userns import IDMap


def test_a_container_has_a_range_of_its_own(root_box, granted) -> None:
    script = (
        "cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /made; chown 42:43 /made; stat -c %u:%g /made /bin/busybox"
    )
    said = granted.ok("run", "--rm", "--userns", "auto:size=5000", root_box.image, "sh", "-c", script).split()
    assert said == ["0", "2000000", "5000"] * 2 + ["0", "42:43", "0:0"]


def test_ranges_do_not_overlap_and_come_free(root_box, granted) -> None:
    words = ("--userns", "auto", root_box.image, "head", "-1", "/proc/self/uid_map")
    first, second = granted.ok("create", *words), granted.ok("create", *words)
    assert granted.ok("start", "-a", first).split() == ["0", "2000000", "65536"]
    assert granted.ok("start", "-a", second).split() == ["0", "2065536", "65536"]
    assert "no 65536 IDs of the user containers are free" in granted.fails("create", *words)
    assert granted.ok("start", "-a", first).split() == ["0", "2000000", "65536"]
    granted.ok("rm", first)
    assert granted.ok("run", "--rm", *words).split() == ["0", "2000000", "65536"]


def test_a_range_that_a_container_runs_with_is_not_given_away_when_its_record_is_damaged(root_box, granted) -> None:
    words = ("--userns", "auto", root_box.image)
    name = granted.ok("run", "-d", *words, "sleep", "100")
    where = root_box.crate.root / "containers" / name
    (where / "container.json").write_text("{")
    assert granted.ok("run", "--rm", *words, "head", "-1", "/proc/self/uid_map").split() == ["0", "2065536", "65536"]
    (where / "config.json").write_text("{")  # the kernel knows
    assert granted.ok("run", "--rm", *words, "head", "-1", "/proc/self/uid_map").split() == ["0", "2065536", "65536"]
    granted.ok("rm", "-f", name)
    assert granted.ok("run", "--rm", *words, "head", "-1", "/proc/self/uid_map").split() == ["0", "2000000", "65536"]


def test_what_it_writes_has_the_usual_ids_on_the_disk(root_box, granted) -> None:
    name = granted.ok(
        "create", "--userns", "auto:size=5000", root_box.image, "sh", "-c", "touch /made; chown 42:43 /made; cat /made"
    )
    granted.ok("start", "-a", name)
    info = os.lstat(root_box.crate.root / "containers" / name / "rw/upper/made")
    assert (info.st_uid, info.st_gid) == (42, 43)
    assert granted.ok("start", "-a", name) == ""


def test_it_is_nobody_on_the_machine(root_box, granted) -> None:
    name = granted.ok("run", "-d", "--userns", "auto", root_box.image, "sleep", "100")
    try:
        assert os.stat(f"/proc/{granted.ok('inspect', '-f', '{{.State.Pid}}', name)}").st_uid == 2000000
        assert granted.ok("exec", name, "id", "-u") == "0"
    finally:
        granted.ok("rm", "-f", name)


def test_secrets_and_devices_are_there_as_well(root_box, granted) -> None:
    granted.ok("secret", "create", "word", "-", input="hello")
    flags = ("--userns", "auto", "--secret", "word,uid=7,mode=0400", "--device", "/dev/zero:/dev/nothing")
    script = "stat -c %u /run/secrets/word; cat /run/secrets/word; head -c 3 /dev/nothing | wc -c"
    assert granted.ok("run", "--rm", *flags, root_box.image, "sh", "-c", script).split() == ["7", "hello3"]


def test_ids_are_mapped_as_they_are_given(root_box) -> None:
    flags = ("--uidmap", "0:2000000:10", "--uidmap", "10:3000000:100", "--gidmap", "0:2500000:100")
    script = "cat /proc/self/uid_map /proc/self/gid_map; touch /made; chown 42:43 /made; stat -c %u:%g /made /bin/busybox"
    name = root_box.create(*flags, "@", "sh", "-c", script)
    said = root_box.crate.ok("start", "-a", name).split()
    assert said == ["0", "2000000", "10", "10", "3000000", "100", "0", "2500000", "100", "42:43", "0:0"]
    info = os.lstat(root_box.crate.root / "containers" / name / "rw/upper/made")
    assert (info.st_uid, info.st_gid) == (42, 43)
    mappings = root_box.crate.json("inspect", name)[0]["HostConfig"]["IDMappings"]
    assert mappings == {"UidMap": ["0:2000000:10", "10:3000000:100"], "GidMap": ["0:2500000:100"]}


def test_a_user_maps_his_own_ids(user_box) -> None:
    flags = ("--uidmap", "0:1:1000", "--uidmap", "1000:0:1")  # and so the groups
    script = "id -u; cat /proc/self/uid_map; touch /made; chown 42:43 /made; stat -c %u:%g /made /bin/busybox; touch /shared/x"
    shared = user_box.crate.person.directory(user_box.crate.directory / "shared")
    said = user_box.run(*flags, "-v", f"{shared}:/shared", "@", "sh", "-c", script).split()
    assert said[0] == "0"
    assert said[4:] == ["1000", str(user_box.crate.person.uid), "1", "42:43", "0:0"]
    assert user_box.run(*flags, "-u", "1000", "-v", f"{shared}:/shared", "@", "stat", "-c", "%u", "/shared") == "1000"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--uidmap", "1:1:1"), "the container's root, 0, is not in it"),
        (("--uidmap", "0:1:0"), "is not CONTAINER:FROM[:AMOUNT]"),
        (("--gidmap", "0"), "is not CONTAINER:FROM[:AMOUNT]"),
        (("--uidmap", "0:-1:1"), "is not CONTAINER:FROM[:AMOUNT]"),
        (("--uidmap", "0:4294967290:10"), "is not CONTAINER:FROM[:AMOUNT]"),
        (("--uidmap", "0:@5:1"), "the signs + @ u g are not there"),
        (("--uidmap", "0:0:10", "--uidmap", "5:100:10"), "two of its ranges overlap"),
        (("--uidmap", "0:0:10", "--uidmap", "20:5:10"), "two of its ranges overlap"),
        (("--uidmap", "0:0:1", "--userns", "auto"), "contradict each other"),
        (("--uidmap", "0:0:1", "--privileged"), "leave out --userns"),
    ],
)
def test_maps_that_cannot_be_are_refused(root_box, words: tuple[str, ...], said: str) -> None:
    assert said in root_box.fails(*words, "@", "true")


def test_a_user_maps_no_id_that_he_does_not_have_and_does_not_leave_out_his_own(user_box) -> None:
    assert "you have no such ID" in user_box.fails("--uidmap", "0:0:1", "--uidmap", "1:99999999:1", "@", "true")
    assert "leaves out your own ID" in user_box.fails("--uidmap", "0:1:100", "@", "true")
    assert "its root could not enter your directories" in user_box.fails("--userns", "nomap", "@", "true")


def test_without_a_grant_it_is_said_how_to_get_one(root_box) -> None:
    with open("/etc/subuid") as file:
        if "\ncontainers:" in "\n" + file.read():
            pytest.skip("this machine grants IDs to the user containers")
    said = root_box.fails("--userns", "auto", "@", "true")
    assert "grant no range to the user containers" in said
    assert "usermod --add-subuids" in said


def test_auto_takes_root(user_box) -> None:
    assert "--userns auto takes root" in user_box.fails("--userns", "auto", "@", "true")


def test_keep_id_takes_a_user(root_box) -> None:
    assert "keep-id is for users" in root_box.fails("--userns", "keep-id", "@", "true")


def test_a_user_keeps_his_id(user_box) -> None:
    uid, gid = user_box.crate.person.uid, user_box.crate.person.gid
    script = "id -u; id -g; stat -c %u:%g /bin/busybox /etc/passwd /x"
    shared = user_box.crate.person.directory(user_box.crate.directory / "shared")
    script += "; touch /shared/x; stat -c %u:%g /shared /shared/x"
    said = user_box.run("--userns", "keep-id", "--tmpfs", "/x", "-v", f"{shared}:/shared", "@", "sh", "-c", script).split()
    assert said == [str(uid), str(gid), "0:0", "0:0", "0:0", *[f"{uid}:{gid}"] * 2]
    assert stat.S_ISREG((shared / "x").stat().st_mode)
    assert (shared / "x").stat().st_uid == uid


def test_a_user_has_the_id_that_he_asks_for(user_box) -> None:
    flags = ("--userns", "keep-id:uid=1000,gid=50")
    assert user_box.run(*flags, "@", "sh", "-c", "id -u; id -g; stat -c %u:%g /bin").split() == ["1000", "50", "0:0"]
    assert user_box.run(*flags, "-u", "0", "@", "sh", "-c", "id -u; touch /made; stat -c %u /made").split() == ["0", "0"]


def test_a_container_that_keeps_an_id_starts_again_and_can_be_looked_into(user_box, until) -> None:
    name = user_box.create("--userns", "keep-id", "@", "sh", "-c", "cat /tmp/word 2>/dev/null; echo hello > /tmp/word")
    user_box.crate.ok("start", "-a", name)
    assert user_box.crate.ok("start", "-a", name) == "hello"
    user_box.crate.ok("rm", name)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, [(0, 500, 1), (1, 1000, 10), (11, 5000, 5)]),
        (3, [(3, 500, 1), (0, 1000, 3), (4, 1003, 7), (11, 5000, 5)]),
        (10, [(10, 500, 1), (0, 1000, 10), (11, 5000, 5)]),
        (12, [(12, 500, 1), (0, 1000, 10), (10, 5000, 2), (13, 5002, 3)]),
        (15, [(15, 500, 1), (0, 1000, 10), (10, 5000, 5)]),
        (99, [(99, 500, 1), (0, 1000, 10), (10, 5000, 5)]),
    ],
)
def test_ids_around_the_one_that_is_kept(number: int, expected: list[tuple[int, int, int]]) -> None:
    maps = (IDMap(0, 500, 1), IDMap(1, 1000, 10), IDMap(11, 5000, 5))
    assert list(kept(maps, number)) == [IDMap(*one) for one in expected]


@pytest.mark.parametrize("number", [0, 3, 10, 12, 15])
def test_a_copy_of_the_image_has_the_owners_that_the_image_has(number: int) -> None:
    """What a layer's file belongs to on the disk, and what its copy belongs to, is the same ID in the two maps."""
    usual = (IDMap(0, 500, 1), IDMap(1, 1000, 10), IDMap(11, 5000, 5))

    def outside(maps: tuple[IDMap, ...], inside: int) -> int:
        return next(one.outside + inside - one.inside for one in maps if one.inside <= inside < one.inside + one.size)

    config = ContainerConfig(image="i", namespaces=Namespaces(user=f"keep-id:uid={number},gid={number}"))
    moved = shifts(config)
    assert moved
    for one in range(16):
        assert outside(usual, moved[0](one)) == outside(kept(usual, number), one)
