"""Secrets: kept by name, found by containers, and told by nobody."""

from __future__ import annotations

import os
import subprocess

import pytest

WORD = "canary-of-a-secret-7f3a"


@pytest.fixture
def keep(box):
    """A function that keeps a secret and returns its ID."""

    def create(name: str, data: str = WORD, *flags: str) -> str:
        return box.crate.ok("secret", "create", *flags, name, "-", input=data)

    return create


def test_a_container_finds_a_secret_in_a_file_in_memory(box, keep) -> None:
    keep("password")
    script = "cat /run/secrets/password; echo; ls -ln /run/secrets/password; grep secrets/password /proc/mounts"
    word, listed, mounted = box.run("--secret", "password", "@", "sh", "-c", script).split("\n")
    assert word == WORD
    assert listed.split()[:4] == ["-r--r--r--", "1", "0", "0"]
    assert mounted.split()[2] == "tmpfs"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mounted.split()[3].split(","))


def test_a_secret_has_a_place_an_owner_and_a_mode(box, keep) -> None:
    keep("password")
    flags = ("--secret", "password,target=/etc/p/word,uid=1000,gid=50,mode=0400")
    assert box.run(*flags, "-u", "alice", "@", "cat", "/etc/p/word") == WORD
    assert box.run(*flags, "@", "sh", "-c", "ls -ln /etc/p/word").split()[:4] == ["-r--------", "1", "1000", "50"]
    assert box.run("--secret", "source=password,target=here", "@", "cat", "/run/secrets/here") == WORD


def test_a_secret_may_be_a_variable(box, keep) -> None:
    keep("password")
    assert f"WORD={WORD}" in box.run("--secret", "password,type=env,target=WORD", "@", "env").split("\n")
    assert f"password={WORD}" in box.run("--secret", "password,type=env", "@", "env").split("\n")


def test_exec_has_the_variables_of_secrets_as_well(box, keep) -> None:
    keep("password")
    name = box.detached("--secret", "password,type=env,target=WORD", "@", "sleep", "100")
    show = ("sh", "-c", "echo =$WORD")
    assert box.crate.ok("exec", name, *show) == f"={WORD}"
    assert box.crate.ok("exec", "-e", "WORD=other", name, *show) == "=other"
    box.crate.ok("secret", "rm", "password")
    assert box.crate.ok("exec", name, *show) == "="


def test_several_secrets_at_once(box, keep) -> None:
    flags, names = [], [f"s{number}" for number in range(12)]
    for name in names:
        keep(name, name)
        flags += ["--secret", name]
    assert box.run(*flags, "@", "sh", "-c", "cat /run/secrets/*") == "".join(sorted(names))


def test_a_secret_is_nowhere_but_in_its_file(box, keep) -> None:
    keep("password")
    name = box.detached("--secret", "password", "--secret", "password,type=env,target=W", "@", "sleep", "100")
    try:
        assert WORD not in box.crate.ok("inspect", name) + box.crate.ok("secret", "inspect", "password") + box.crate.ok(
            "logs", name
        )
        found = subprocess.run(["grep", "-rl", WORD, str(box.crate.root), str(box.crate.state)], capture_output=True, text=True)
        assert found.stdout.split() == [f"{box.crate.root}/secrets/password/data"]
        assert os.stat(found.stdout.strip()).st_mode & 0o777 == 0o600
        pid = box.crate.ok("inspect", "-f", "{{.State.Pid}}", name)
        assert WORD not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert os.path.exists(f"/proc/{pid}")
    finally:
        box.crate.ok("rm", "-f", name)


def test_a_stopped_container_gets_the_secret_of_the_day(box, keep) -> None:
    keep("password", "old")
    name = box.create("--secret", "password", "@", "cat", "/run/secrets/password")
    assert box.crate.ok("start", "-a", name) == "old"
    keep("password", "new", "--replace")
    assert box.crate.ok("start", "-a", name) == "new"
    box.crate.ok("secret", "rm", "password")
    assert "no secret password" in box.crate.fails("start", "-a", name)


def test_secrets_are_listed_told_of_and_deleted(box, keep) -> None:
    identity = keep("two", "x", "--label", "k=v")  # a name of hexadecimal digits could be the beginning of an ID
    keep("one")
    assert box.crate.ok("secret", "ls", "--format", "{{.Name}}").split() == ["one", "two"]
    assert box.crate.ok("secret", "ls").split("\n")[0].split() == ["ID", "NAME", "DRIVER", "CREATED", "UPDATED"]
    assert (
        box.crate.ok("secret", "inspect", "-f", "{{.ID}} {{.Spec.Name}} {{.Spec.Labels.k}}", identity[:8])
        == f"{identity} two v"
    )
    assert box.crate.ok("secret", "rm", "two") == identity
    done = box.crate("secret", "rm", "two", "one")
    assert done.returncode == 1
    assert "no secret two" in done.stderr
    assert box.crate.ok("secret", "ls", "-q") == ""


def test_a_secret_comes_from_a_file_or_a_variable(box) -> None:
    file = box.crate.directory / "file"
    file.write_bytes(b"\0\xff of a file\n")
    box.crate.ok("secret", "create", "of-file", str(file))
    box.crate.ok("secret", "create", "--env", "of-env", "MINE", env={"MINE": "of the environment"})
    assert box.run("--secret", "of-file", "@", "sh", "-c", "wc -c < /run/secrets/of-file") == "13"
    assert box.run("--secret", "of-env", "@", "cat", "/run/secrets/of-env") == "of the environment"
    assert "NUL byte" in box.fails("--secret", "of-file,type=env", "@", "true")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("secret", "create", "../x", "/etc/hostname"), "not a name for a secret"),
        (("secret", "create", "x", "/not/there"), "No such file"),
        (("secret", "create", "x", "/dev/null"), "not a regular file"),
        (("secret", "create", "x", "/dev/zero"), "not a regular file"),
        (("secret", "create", "--env", "x", "NOT_THERE"), "no variable NOT_THERE"),
        (("secret", "inspect", "x"), "no secret x"),
        (("secret", "rm"), "name secrets"),
    ],
)
def test_what_is_no_secret_is_refused(crate, words: tuple[str, ...], why: str) -> None:
    assert why in crate.fails(*words)


def test_a_secret_does_not_come_from_what_may_have_no_end(box) -> None:
    fifo = box.crate.directory / "fifo"
    os.mkfifo(fifo, 0o666)
    for path in (str(fifo), "/dev/zero"):
        assert f"file {path}: not a regular file" in box.crate.fails("secret", "create", "s", path, timeout=90)
    assert box.crate.ok("secret", "ls", "-q") == ""


def test_a_name_that_is_taken_stays(box, keep) -> None:
    keep("taken")
    assert "there is a secret taken already" in box.crate.fails("secret", "create", "taken", "-", input="x")
    assert box.run("--secret", "taken", "@", "cat", "/run/secrets/taken") == WORD


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nowhere", "no secret nowhere"),
        ("password,type=file", "not a secret"),
        ("password,mode=999", "no mode"),
        ("password,uid=-1", "no ID"),
        ("password,type=env,uid=1", "no owner"),
        ("password,target=../x", "no path"),
        ("password,x=y", "none of its options"),
        (",", "none of its options"),
    ],
)
def test_a_wish_for_a_secret_that_cannot_be_is_refused(box, keep, text: str, why: str) -> None:
    keep("password")
    assert why in box.fails("--secret", text, "@", "true")
    assert box.crate.ok("ps", "-aq") == ""
