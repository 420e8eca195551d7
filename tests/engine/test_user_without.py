"""An ordinary user whom the machine gives less than he needs: no user namespaces, no subordinate IDs, no newuidmap."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from support.commands import Crate
from support.people import Person

NOBODY = 65534


@pytest.fixture
def nobody(scratch: Path, word: str, rootful: Crate) -> Crate:
    """crate of the user nobody, to whom /etc/subuid grants nothing."""
    person = Person("nobody", NOBODY, NOBODY, scratch / word / "nobody")
    person.directory(person.home)
    person.directory(person.runtime_dir)
    return Crate(rootful.executable, person, person.directory(scratch / word / "nobodys"))


def test_a_user_without_subordinate_ids_runs_the_image_and_is_told_once(nobody: Crate, busybox_image) -> None:
    done = nobody("run", "--rm", str(busybox_image), "sh", "-c", "id -u; stat -c %u /bin/busybox /home")
    assert (done.returncode, done.stdout.split()) == (0, ["0", "0", "0"]), done.stderr
    told = [line for line in done.stderr.splitlines() if "subuid" in line]
    assert len(told) == 1
    assert "usermod --add-subuids" in told[0]
    again = nobody("run", "--rm", str(busybox_image), "true")
    assert "subuid" not in again.stderr


def test_a_user_without_subordinate_ids_runs_the_real_alpine(nobody: Crate, alpine_image) -> None:
    """Files of others in its layers, as /var/empty or the group shadow, are written down and not refused."""
    said = nobody.ok("run", "--rm", "-q", str(alpine_image), "sh", "-c", "cat /etc/alpine-release; ls -ln /etc/shadow")
    assert said.startswith("3.")


def test_a_user_without_subordinate_ids_can_be_root_alone(nobody: Crate, busybox_image) -> None:
    said = nobody.fails("run", "--rm", "-q", "-u", "1000", str(busybox_image), "true")
    assert len([line for line in said.splitlines() if not line.startswith("  hint")]) <= 2
    assert "1000" in said


def test_what_a_user_without_subordinate_ids_keeps_can_be_removed(nobody: Crate, busybox_image) -> None:
    nobody.ok("run", "-q", "--name", "web", str(busybox_image), "sh", "-c", "mkdir /x && touch /x/y && chmod 0 /x")
    nobody.ok("rm", "web")
    nobody.ok("rmi", busybox_image.image.id)
    left = [path for path in (nobody.root / "images/layers").iterdir() if not path.name.startswith(".")]
    assert left == []


def test_info_tells_what_is_missing(nobody: Crate) -> None:
    assert "subuid" in nobody.ok("info")


# Enters a user namespace in which everybody is who he was, forbids further ones, and becomes the user.
WITHOUT_USERNS = """
import ctypes, os, sys
asked, answer = os.pipe(), os.pipe()
if os.fork() == 0:
    os.read(asked[0], 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{os.getppid()}/{name}", "w") as file:
            file.write("0 0 4294967295")
    os.write(answer[1], b"x")
    os._exit(0)
assert ctypes.CDLL(None, use_errno=True).unshare(0x10000000) == 0
os.write(asked[1], b"x")
os.read(answer[0], 1)
os.wait()
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
os.setgroups([])
os.setresgid(*[int(sys.argv[2])] * 3)
os.setresuid(*[int(sys.argv[1])] * 3)
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.fixture
def without_userns(rootless: Crate) -> Crate:
    """crate of the ordinary user where the limit of user namespaces is 0."""
    if os.geteuid():
        pytest.skip("needs root, to set the limit of another user's namespaces")
    return rootless.within((sys.executable, "-c", WITHOUT_USERNS, str(rootless.person.uid), str(rootless.person.gid)))


def test_without_user_namespaces_the_setting_is_named(without_userns: Crate, busybox_image) -> None:
    for words in (("run", "--rm", "-q", str(busybox_image), "true"), ("pull", "-q", str(busybox_image))):
        said = without_userns.fails(*words)
        assert "user namespace" in said
        assert "sysctl -w user.max_user_namespaces" in said
        assert len(said.splitlines()) == 2


def test_without_user_namespaces_a_directory_cannot_be_run_either(without_userns: Crate) -> None:
    assert "sysctl" in without_userns.fails("run", "--rm", "rootfs:/", "true")


def test_without_newuidmap_the_image_runs_with_one_id(rootless: Crate, busybox_image) -> None:
    if os.geteuid():
        pytest.skip("needs root, to hide the programs in a mount namespace")
    hide = "for name in newuidmap newgidmap; do mount --bind /dev/null $(command -v $name); done"
    become = 'exec setpriv --reuid="$0" --regid="$1" --clear-groups -- "${@:2}"'
    person = rootless.person
    prefix = ("unshare", "--mount", "--propagation", "private", "bash", "-c", f"set -e; {hide}; {become}")
    crate = rootless.within((*prefix, str(person.uid), str(person.gid)))
    done = crate("run", "--rm", "-q", str(busybox_image), "id", "-u")
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    done = crate("run", "--rm", str(busybox_image), "true")
    assert "apt-get install uidmap" in done.stderr


def test_without_a_runtime_directory_there_is_one_below_tmp(rootless: Crate, busybox_image) -> None:
    if "CRATE_STATE" not in rootless.environment:
        pytest.skip("the tests choose no state directory")
    place = Path(f"/tmp/crate-{rootless.person.uid}")
    there = place.exists()
    environment = {"CRATE_STATE": "", "XDG_RUNTIME_DIR": ""}
    assert rootless.ok("run", "--rm", "-q", str(busybox_image), "echo", "x", env=environment) == "x"
    assert place.stat().st_mode & 0o777 == 0o700
    if not there:
        shutil.rmtree(place)


def test_a_runtime_directory_of_somebody_else_is_not_used(rootless: Crate, busybox_image) -> None:
    """As `su` leaves it behind: XDG_RUNTIME_DIR is still root's."""
    if os.geteuid():
        pytest.skip("needs root, to make a directory of root's")
    foreign = rootless.directory.parent / "foreign"
    foreign.mkdir(mode=0o777)
    foreign.chmod(0o777)
    environment = {"CRATE_STATE": "", "XDG_RUNTIME_DIR": str(foreign)}
    place = Path(f"/tmp/crate-{rootless.person.uid}")
    there = place.exists()
    assert rootless.ok("run", "--rm", "-q", str(busybox_image), "echo", "x", env=environment) == "x"
    assert list(foreign.iterdir()) == []
    if not there:
        shutil.rmtree(place)


def test_sudo_leaves_the_users_store_alone(rootful: Crate, person: Person, busybox_image) -> None:
    """HOME and SUDO_USER of the user, effective user root: root's own store is used, never the user's."""
    environment = {"HOME": str(person.home), "SUDO_USER": person.name, "XDG_DATA_HOME": str(person.home / "data")}
    rootful.ok("run", "--rm", "-q", str(busybox_image), "true", env=environment)
    assert not (person.home / "data").exists()
    assert not (person.home / ".local").exists()
