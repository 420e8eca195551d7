"""Who `--user` and USER are: a table of strings, and files of passwd and group that are not what they seem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cratebox.engine.accounts import Account, read, resolve
from cratebox.errors import InvalidValue

PASSWD = """root:x:0:0:root:/root:/bin/sh
alice:x:1000:1000:Alice:/home/alice:/bin/sh
bob:x:1001:50::/home/bob:/bin/sh
homeless:x:1002:1002:::
1003:x:2000:2000:a name of digits:/home/digits:
wraps:x:4294967296:0::/:
minus:x:-1:-1::/:
hex:x:0x0:0::/:
short:x:7
blank: : ::::
twice:x:3000:3000::/first:
twice:x:3001:3001::/second:
café:x:4000:4000::/café:
"""
GROUP = """root:x:0:
alice:x:1000:
staff:x:50:alice,root
wheel:x:10:alice
wraps:x:4294967296:alice
digits:x:77:1003
1004:x:88:
"""


@pytest.fixture
def tree(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return (str(tmp_path),)


FOUND = {
    "": Account(0, 0, (0, 50), "/root"),
    "root": Account(0, 0, (50,), "/root"),
    "0": Account(0, 0, (50,), "/root"),
    "alice": Account(1000, 1000, (50, 10), "/home/alice"),
    "1000": Account(1000, 1000, (50, 10), "/home/alice"),
    "01000": Account(1000, 1000, (50, 10), "/home/alice"),
    "bob": Account(1001, 50, (), "/home/bob"),
    "homeless": Account(1002, 1002, (), "/"),
    "alice:wheel": Account(1000, 10, (), "/home/alice"),
    "alice:0": Account(1000, 0, (), "/home/alice"),
    "alice:4711": Account(1000, 4711, (), "/home/alice"),
    "0:0": Account(0, 0, (), "/root"),
    "4711": Account(4711, 0, (), "/"),
    "4711:staff": Account(4711, 50, (), "/"),
    "4711:4712": Account(4711, 4712, (), "/"),
    "2147483647": Account(2147483647, 0, (), "/"),
    "2147483647:2147483647": Account(2147483647, 2147483647, (), "/"),
    "1003": Account(1003, 0, (), "/"),
    "twice": Account(3000, 3000, (), "/first"),
    "3001": Account(3001, 3001, (), "/second"),
    "café": Account(4000, 4000, (), "/café"),
    "4711:1004": Account(4711, 1004, (), "/"),
}


@pytest.mark.parametrize("user", FOUND)
def test_a_user_is_found(tree: tuple[str, ...], user: str) -> None:
    found, wanted = resolve(user, tree), FOUND[user]
    assert (found.uid, found.gid, found.home) == (wanted.uid, wanted.gid, wanted.home)
    assert set(found.groups) - {found.gid} == set(wanted.groups) - {wanted.gid}


# Whatever of this came to be 0 would be root.
REFUSED = [
    ":", ":0", "root:", "alice:", ":staff", "nobody-knows", "-1", "-0", "+0", "+1000", "0x0", "0b0", "0o0", "1e3", "1.0", " 0",
    "0 ", "0\n", "\t0", "2147483648", "4294967295", "4294967296", "18446744073709551616", "9" * 100, "٠", "０", "²", "wraps",  # noqa: RUF001
    "minus", "hex", "short", "alice:minus", "alice:-1", "alice:4294967296", "alice:wraps", "0:2147483648", "alice:staff:wheel",
    "alice:staff:", "root\x00", "root\x00x", "alice:0\x00", "../etc", "#root", "root,alice", "*", "",
][:-1]  # fmt: skip


@pytest.mark.parametrize("user", REFUSED)
def test_what_is_no_user_is_refused(tree: tuple[str, ...], user: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        resolve(user, tree)
    assert refused.value.message.isascii()
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("user", ["0", "1000:1000", "", "4711"])
def test_numbers_need_no_files(tmp_path: Path, user: str) -> None:
    found = resolve(user, (str(tmp_path),))
    assert found.groups == ()
    assert found.home == "/"


def test_the_highest_layer_counts(tmp_path: Path, tree: tuple[str, ...]) -> None:
    upper = tmp_path / "upper"
    (upper / "etc").mkdir(parents=True)
    (upper / "etc/passwd").write_text("alice:x:5:6::/upper:\n")
    assert resolve("alice", (str(upper), *tree)).uid == 5
    assert resolve("alice", (*tree, str(upper))).uid == 1000


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make the device of a whiteout")
def test_a_file_that_a_higher_layer_removed_is_not_read(tmp_path: Path, tree: tuple[str, ...]) -> None:
    upper = tmp_path / "upper"
    (upper / "etc").mkdir(parents=True)
    os.mknod(upper / "etc/passwd", 0o020000, 0)
    with pytest.raises(InvalidValue):
        resolve("alice", (str(upper), *tree))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make the device of a whiteout")
def test_a_directory_that_a_higher_layer_removed_is_not_looked_into(tmp_path: Path, tree: tuple[str, ...]) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    os.mknod(upper / "etc", 0o020000, 0)
    with pytest.raises(InvalidValue):
        resolve("alice", (str(upper), *tree))


def test_a_directory_that_a_higher_layer_replaced_by_a_file_is_not_looked_into(tmp_path: Path, tree: tuple[str, ...]) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "etc").write_text("x")
    with pytest.raises(InvalidValue):
        resolve("alice", (str(upper), *tree))


def test_an_opaque_directory_hides_what_is_below(tmp_path: Path, tree: tuple[str, ...]) -> None:
    upper = tmp_path / "upper"
    (upper / "etc").mkdir(parents=True)
    try:
        os.setxattr(upper / "etc", "user.overlay.opaque", b"y")
    except OSError:
        pytest.skip("no user attributes on this file system")
    with pytest.raises(InvalidValue):
        resolve("alice", (str(upper), *tree))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../../../../../etc/passwd", "/proc/self/environ", "/dev/zero"])
def test_a_symlink_leads_nowhere_outside_of_the_image(tmp_path: Path, target: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to(target)
    assert read((str(tmp_path),), "etc/passwd") == b""


def test_a_symlink_inside_of_the_image_is_followed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/passwd").write_text("x")
    (tmp_path / "etc/passwd").symlink_to("/usr/passwd")
    assert read((str(tmp_path),), "etc/passwd") == b"x"


def test_a_fifo_a_socket_and_a_directory_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    (tmp_path / "etc/group").mkdir()
    assert read((str(tmp_path),), "etc/passwd") == b""
    assert read((str(tmp_path),), "etc/group") == b""


def test_a_file_of_more_than_a_mebibyte_is_refused(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    with open(tmp_path / "etc/passwd", "wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(InvalidValue, match="larger than 1 MiB"):
        read((str(tmp_path),), "etc/passwd")
    os.truncate(tmp_path / "etc/passwd", 1 << 20)
    assert len(read((str(tmp_path),), "etc/passwd")) == 1 << 20
