"""`crate exec`: another process in a container that runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.commands import end

DEFAULT_CAPABILITIES = "00000000a80405fb"  # of a container with the host's network


@pytest.fixture
def web(box) -> str:
    """A container that runs."""
    return box.detached("--name", "web", "@", "sleep", "1000")


def status_of(text: str, field: str) -> str:
    return next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith(field + ":"))


def test_a_command_runs_in_the_container_and_its_output_is_ours(box, web) -> None:
    done = box.crate("exec", "web", "sh", "-c", "echo said; echo wrong >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("said\n", "wrong\n", 7)


def test_it_is_in_the_containers_namespaces_and_cgroup(box, web) -> None:
    told = box.crate.ok("exec", "web", "sh", "-c", "ps -o pid,args; cat /proc/self/cgroup /proc/1/cgroup | sort | uniq -c")
    assert "1 sleep 1000" in told
    assert not [line for line in told.splitlines() if line.split()[0] == "1" and ":" in line], told


def test_signals_end_it_with_their_number(box, web) -> None:
    assert box.crate("exec", "web", "sh", "-c", "kill -9 $$").returncode == 137


def test_what_is_not_there_is_127_and_what_is_no_program_126(box, web) -> None:
    assert "not found" in box.crate.fails("exec", "web", "no-such-command", code=127)
    assert "permission denied" in box.crate.fails("exec", "web", "/etc", code=126)
    assert "working directory /nowhere" in box.crate.fails("exec", "-w", "/nowhere", "web", "pwd", code=126)


def test_standard_input_is_passed_on_with_i_alone(box, web) -> None:
    assert box.crate.ok("exec", "-i", "web", "cat", input="typed\n") == "typed"
    assert box.crate.ok("exec", "web", "cat", input="typed\n") == ""


def test_a_large_input_and_output_pass_whole(box, web) -> None:
    data = os.urandom(3_000_000).hex()
    assert box.crate.ok("exec", "-i", "web", "cat", input=data) == data


def test_who_stops_reading_ends_a_command_that_writes_without_end(box, web) -> None:
    running = box.crate.start("exec", "web", "yes", stdout=subprocess.PIPE)
    assert running.stdout.read(4) == b"y\ny\n"
    running.stdout.close()
    assert running.wait(60) == 141


def test_its_environment_is_the_containers_with_more(box) -> None:
    box.detached("--name", "web", "-e", "OWN=1", "-e", "BOTH=old", "--hostname", "here", "@", "sleep", "1000")
    told = box.crate.ok("exec", "-e", "BOTH=new", "-e", "MORE=2", "web", "env").splitlines()
    assert {"OWN=1", "BOTH=new", "MORE=2", "HOSTNAME=here", "HOME=/root"} <= set(told)
    assert not [entry for entry in told if entry.startswith("TERM=")]


def test_variables_come_from_a_file_too(box, web) -> None:
    path = box.crate.person.home / "variables"
    path.write_text("# none\nFROM_FILE=1\nBOTH=file\n")
    told = box.crate.ok("exec", "--env-file", str(path), "-e", "BOTH=flag", "web", "env").splitlines()
    assert {"FROM_FILE=1", "BOTH=flag"} <= set(told)


def test_it_starts_in_the_containers_directory_or_another(box) -> None:
    box.detached("--name", "web", "-w", "/usr", "@", "sleep", "1000")
    assert box.crate.ok("exec", "web", "pwd") == "/usr"
    assert box.crate.ok("exec", "-w", "/bin", "web", "pwd") == "/bin"
    assert "not absolute" in box.crate.fails("exec", "-w", "bin", "web", "pwd")


def test_the_user_is_looked_up_in_the_container_as_it_is_now(box, web) -> None:
    box.crate.ok("exec", "web", "sh", "-c", "echo made:x:1234:1235::/srv: >> /etc/passwd; echo more:x:1300:made >> /etc/group")
    told = box.crate.ok("exec", "-u", "made", "web", "sh", "-c", "id -u; id -g; id -G; echo $HOME").split()
    assert told == ["1234", "1235", "1235", "1300", "/srv"]
    assert box.crate.ok("exec", "-u", "77:78", "web", "sh", "-c", "id -u; id -g").split() == ["77", "78"]
    assert "no user 'nobody-here'" in box.crate.fails("exec", "-u", "nobody-here", "web", "id")


def test_groups_that_were_added_to_the_container_are_its_too(root_box) -> None:
    root_box.detached("--name", "web", "--group-add", "77", "@", "sleep", "1000")
    assert "77" in root_box.crate.ok("exec", "web", "id", "-G").split()
    assert "77" in root_box.crate.ok("exec", "-u", "5:6", "web", "id", "-G").split()


@pytest.mark.parametrize(
    "hostile",
    [
        "mknod /etc/passwd p",
        "ln -s /proc/self/root/etc/shadow /etc/passwd",
        "ln -s /proc/kmsg /etc/passwd",  # the kernel's messages: who may read them waits for the next one
        "mkdir /etc/passwd",
    ],
)
def test_a_hostile_passwd_is_no_file_of_users_and_holds_nothing_up(box, web, hostile: str) -> None:
    box.crate.ok("exec", "web", "sh", "-c", f"rm /etc/passwd; {hostile}")
    assert "no user 'root'" in box.crate.fails("exec", "-u", "root", "web", "id", timeout=90)
    told = box.crate.ok("exec", "-u", "5", "web", "cat", "/proc/self/status", timeout=90)
    assert status_of(told, "Uid").split()[0] == "5"


def test_a_gigantic_passwd_is_refused(box, web) -> None:
    box.crate.ok("exec", "web", "sh", "-c", "truncate -s 2G /etc/passwd")
    assert "larger than 1 MiB" in box.crate.fails("exec", "web", "id", timeout=90)


def test_root_has_the_containers_capabilities_others_none(box) -> None:
    box.detached("--name", "web", "-u", "nobody", "@", "sleep", "1000")
    root = box.crate.ok("exec", "-u", "0", "web", "cat", "/proc/self/status")
    assert [status_of(root, f"Cap{kind}") for kind in ("Prm", "Eff", "Bnd")] == [DEFAULT_CAPABILITIES] * 3
    other = box.crate.ok("exec", "web", "cat", "/proc/self/status")
    assert [status_of(other, f"Cap{kind}") for kind in ("Prm", "Eff")] == ["0000000000000000"] * 2
    assert {status_of(text, "CapInh") for text in (root, other)} == {"0000000000000000"}


def test_privileged_has_all_capabilities_and_still_the_filter(box, web) -> None:
    told = box.crate.ok("exec", "--privileged", "web", "cat", "/proc/self/status")
    assert int(status_of(told, "CapEff"), 16) & 1 << 21  # CAP_SYS_ADMIN
    assert status_of(told, "Seccomp") == "2"


def test_no_new_privileges_and_limits_are_the_containers(box) -> None:
    box.detached("--name", "web", "--security-opt", "no-new-privileges", "--ulimit", "nofile=77:88", "@", "sleep", "1000")
    assert status_of(box.crate.ok("exec", "web", "cat", "/proc/self/status"), "NoNewPrivs") == "1"
    assert box.crate.ok("exec", "web", "sh", "-c", "ulimit -n; ulimit -Hn").split() == ["77", "88"]


def test_it_has_no_descriptor_of_the_callers(box, web) -> None:
    """A regular file handed over could be opened anew, to read and to write: /proc/self/fd/1."""
    path = box.crate.person.home / "output"
    script = "readlink /proc/$$/fd/0; readlink /proc/$$/fd/1; readlink /proc/$$/fd/2"
    with path.open("wb") as output:
        done = box.crate("exec", "web", "sh", "-c", script, capture_output=False, stdout=output)
    told = path.read_text().split()
    assert done.returncode == 0
    assert told[0] == "/dev/null"
    assert [name.partition(":")[0] for name in told[1:]] == ["pipe", "pipe"]


def test_descriptors_are_preserved_on_demand(box, web) -> None:
    path = box.crate.person.home / "preserved"
    path.write_text("through")
    words = box.crate.argv("exec", "--preserve-fds", "1", "web", "cat", "/proc/self/fd/3")
    done = box.crate.person.run(["sh", "-c", 'exec 3<"$0"; exec "$@"', str(path), *words], env=box.crate.environment)
    assert done.stdout == "through", done.stderr


# States


def test_what_does_not_run_is_refused_with_the_way_out(box) -> None:
    box.create("--name", "web", "@", "true")
    assert "web is created, not running\n  hint: crate start web" in box.crate.fails("exec", "web", "true")
    box.crate.ok("start", "-a", "web")
    assert "web is exited, not running\n  hint: crate start web" in box.crate.fails("exec", "web", "true")
    assert "no container nowhere" in box.crate.fails("exec", "nowhere", "true")


def test_a_paused_container_is_refused_with_the_way_out(root_box) -> None:
    root_box.detached("--name", "web", "@", "sleep", "1000")
    root_box.crate.ok("pause", "web")
    assert "web is paused, not running\n  hint: crate unpause web" in root_box.crate.fails("exec", "web", "true")
    root_box.crate.ok("unpause", "web")
    root_box.crate.ok("exec", "web", "true")


def test_a_container_that_ends_takes_it_along(box, web) -> None:
    running = box.crate.start("exec", "web", "sh", "-c", "echo up; exec sleep 1000", stdout=subprocess.PIPE)
    assert running.stdout.readline() == b"up\n"
    box.crate.ok("kill", "web")
    assert running.wait(60) == 137
    running.stdout.close()


# Being there and not


def test_detached_returns_at_once_and_the_command_runs(box, web, until) -> None:
    assert box.crate.ok("exec", "-d", "web", "sh", "-c", "sleep 0.3; echo done > /made") == ""
    until(lambda: box.crate("exec", "web", "cat", "/made").stdout == "done\n")


def test_detached_tells_what_keeps_the_command_from_running(box, web) -> None:
    assert "not found" in box.crate.fails("exec", "-d", "web", "no-such-command", code=127)


def test_signals_are_passed_on(box, web) -> None:
    script = "trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 0.1; done"
    running = box.crate.start("exec", "web", "sh", "-c", script, stdout=subprocess.PIPE)
    assert running.stdout.readline() == b"up\n"
    running.send_signal(signal.SIGTERM)
    assert running.stdout.readline() == b"caught\n"
    assert running.wait(60) == 9
    running.stdout.close()


def test_three_interrupts_let_go_of_what_does_not_listen(box, web) -> None:
    running = box.crate.start("exec", "web", "sh", "-c", "trap '' INT; echo up; exec sleep 1000", stdout=subprocess.PIPE)
    assert running.stdout.readline() == b"up\n"
    for _ in range(600):  # two that are sent while nobody looks are one
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        if running.poll() is not None:
            break
    assert running.wait(60) == 130
    running.stdout.close()


def test_a_command_outlives_a_crate_that_is_killed(box, web) -> None:
    running = box.crate.start("exec", "web", "sh", "-c", "echo up; exec sleep 1000", stdout=subprocess.PIPE)
    assert running.stdout.readline() == b"up\n"
    end(running)
    running.stdout.close()
    assert "sleep 1000" in box.crate.ok("exec", "web", "sh", "-c", "ps -o pid,args | grep -v '^ *1 '")


# A terminal


def test_a_terminal_talks_both_ways_and_has_our_size(box, web, screens) -> None:
    screen = screens(box, "web", "sh", "-c", "stty size; tty; exec sh", verb=("exec", "-it"))
    screen.see(b"24 80")
    screen.see(b"/dev/pts/")
    screen.type(b"echo one-$((1 + 1)) $TERM\n")
    screen.see(b"one-2 xterm")
    screen.resize(30, 90)
    screen.process.send_signal(signal.SIGWINCH)
    screen.type(b"until stty size | grep '30 90'; do sleep 0.1; done; exit 7\n")
    screen.see(b"30 90")
    assert screen.end() == 7
    assert screen.is_as_before


def test_detach_keys_leave_it_with_its_terminal(box, web, screens, until) -> None:
    script = "trap 'echo hung up > /made' HUP; echo up; sleep 1; echo still; echo went on > /made; exec sleep 1000"
    screen = screens(box, "web", "sh", "-c", script, verb=("exec", "-it", "--detach-keys", "ctrl-x,x"))
    screen.see(b"up")
    screen.type(b"\x18x")
    assert screen.end() == 0
    assert screen.is_as_before
    until(lambda: box.crate("exec", "web", "cat", "/made").stdout == "went on\n")


def test_detached_with_a_terminal_is_not_hung_up(box, web, until) -> None:
    box.crate.ok("exec", "-d", "-t", "web", "sh", "-c", "sleep 0.3; test -t 1 && echo terminal > /made")
    until(lambda: box.crate("exec", "web", "cat", "/made").stdout == "terminal\n")


def test_a_terminal_without_one_of_ours_is_refused(box, web) -> None:
    assert "not a terminal" in box.crate.fails("exec", "-it", "web", "sh")


# Events


def test_events_tell_of_it(root_box) -> None:
    root_box.detached("--name", "web", "@", "sleep", "1000")
    root_box.crate("exec", "web", "sh", "-c", "exit 3")
    journal = (Path(root_box.crate.root) / "events/journal").read_text()
    assert '"exec_create: sh -c exit 3"' in journal
    assert '"exec_start: sh -c exit 3"' in journal
    assert '"exitCode":"3"' in journal.splitlines()[-1]
