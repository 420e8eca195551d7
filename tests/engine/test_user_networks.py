"""Networks of an ordinary user: bridges in a namespace of his, the way outside and published ports by pasta or slirp4netns."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from support import tun
from support.commands import Crate
from support.kin import kill_at_once
from support.published import Until, free_port, left_of, own_address, without_programs
from support.ready import Ready

SERVE = "echo hello > /index.html; exec httpd -f -p 80 -h /"


def fetch(address: str, port: int) -> str:
    with urllib.request.urlopen(f"http://{address}:{port}/index.html", timeout=30) as answer:
        return str(answer.read().decode().strip())


def fetching(address: str, port: int) -> str:
    """Return the words for a shell in a container that fetch the page. wget of a static busybox dies as it asks for a name.

    What asks stays open: old releases of pasta lose an answer to who has closed his side already.
    """
    return f"(printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n'; sleep 1) | nc -w 3 {address} {port} | tail -n 1"


def patiently(until: Until, address: str, port: int) -> str:
    """Fetch once the server in the container listens."""

    def once() -> str:
        try:
            return fetch(address, port)
        except OSError:
            return ""

    return str(until(once))


def outside_pid(crate: Crate) -> int:
    """Return the one way outside that there is."""
    (file,) = (crate.state / "networks" / "outside").glob("*.pid")
    return int(file.read_text().split()[0])


def test_an_interface_cannot_have_the_name_of_the_way_outside(user_box: Ready) -> None:
    crate = user_box.crate
    crate.ok("network", "create", "front")
    name = user_box.create("@", "true")
    for words in (
        ("create", "--network", "name=front,interface-name=tap0", user_box.image),
        ("network", "connect", "--driver-opt", "com.docker.network.endpoint.ifname=tap0", "front", name),
    ):
        assert "an interface cannot be called tap0 without root" in crate.fails(*words, code=125)
    assert crate.ok("ps", "-aq", "--no-trunc").split() == [name]


def test_a_published_port_is_reached_from_loopback_and_by_the_machines_address(out_box: Ready, until: Until) -> None:
    port, address = free_port(), own_address()
    name = out_box.detached("--network", "bridge", "-p", f"{port}:80", "@", "sh", "-c", SERVE)
    assert patiently(until, "127.0.0.1", port) == "hello"
    assert fetch(address, port) == "hello"
    assert fetch("[::1]", port) == "hello"  # the network has no IPv6: the relay asks it by IPv4
    assert out_box.crate.ok("port", name).splitlines() == [f"80/tcp -> 0.0.0.0:{port}", f"80/tcp -> [::]:{port}"]


def test_a_port_at_one_address_is_at_no_other(out_box: Ready, until: Until) -> None:
    port, address = free_port(), own_address()
    out_box.detached("--network", "bridge", "-p", f"127.0.0.1:{port}:80", "@", "sh", "-c", SERVE)
    assert patiently(until, "127.0.0.1", port) == "hello"
    with pytest.raises(OSError, match="refused"):
        fetch(address, port)


ECHO = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 53))
while True:
    data, sender = sock.recvfrom(64)
    sock.sendto(data, sender)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to serve in the container's network namespace")
def test_udp_is_passed_on_and_answered(out_box: Ready, until: Until) -> None:
    # Not by loopback: slirp4netns does not answer there, and old releases of pasta only from a port of the same number.
    port, address = free_port(socket.SOCK_DGRAM), own_address()
    out_box.detached("--name", "echo", "--network", "bridge", "-p", f"{port}:53/udp", "@", "sleep", "100")
    pid = out_box.crate.ok("inspect", "-f", "{{.State.Pid}}", "echo")
    server = subprocess.Popen(["nsenter", "-t", pid, "-n", sys.executable, "-c", ECHO])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.2)
            sock.connect((address, port))

            def echoed() -> bytes:
                try:
                    sock.send(b"ping")
                    return sock.recv(16)
                except OSError:
                    return b""

            assert until(echoed) == b"ping"
    finally:
        server.kill()
        server.wait()


def test_two_containers_of_a_user_reach_each_other_and_what_the_other_published(out_box: Ready, until: Until) -> None:
    port, address = free_port(), own_address()
    out_box.crate.ok("network", "create", "lan")
    out_box.detached("--name", "web", "--network", "lan", "-p", f"{port}:80", "@", "sh", "-c", SERVE)
    patiently(until, "127.0.0.1", port)
    inside = out_box.crate.ok("inspect", "-f", "{{.NetworkSettings.Networks.lan.IPAddress}}", "web")
    lines = f"{fetching(inside, 80)}; {fetching(address, port)}"
    assert out_box.run("--network", "lan", "@", "sh", "-c", lines) == "hello\nhello"


def test_names_are_resolved_without_root(pasta_box: Ready) -> None:
    pasta_box.crate.ok("network", "create", "--internal", "lan")
    pasta_box.detached("--name", "web", "--network", "lan", "--network-alias", "www", "@", "sleep", "100")
    address = pasta_box.crate.ok("inspect", "-f", "{{.NetworkSettings.Networks.lan.IPAddress}}", "web")
    assert address in pasta_box.run("--network", "lan", "@", "nslookup", "web")
    assert address in pasta_box.run("--network", "lan", "@", "nslookup", "www")


def test_the_end_of_a_container_in_the_machines_pid_namespace_leaves_the_resolver_alone(pasta_box: Ready) -> None:
    """Its supervisor has started the resolver, and ends whatever the container has left behind."""
    pasta_box.crate.ok("network", "create", "--internal", "lan")
    first = pasta_box.detached("--pid", "host", "--network", "lan", "@", "sleep", "100")
    pasta_box.detached("--name", "web", "--network", "lan", "@", "sleep", "100")
    before = _resolver(pasta_box.crate)
    assert before
    pasta_box.crate.ok("rm", "-f", first)
    assert _resolver(pasta_box.crate) == before
    assert "web" in pasta_box.crate.ok("exec", "web", "nslookup", "web")


def _resolver(crate: Crate) -> str:
    """Return the pids of the resolver and of what is above it."""
    return subprocess.run(["pgrep", "-f", f"crate-resolver {crate.root} "], capture_output=True, text=True).stdout


def test_an_internal_network_has_no_way_outside_and_needs_no_program(user_box: Ready, scratch: Path) -> None:
    box = replace(user_box, crate=without_programs(user_box.crate))
    box.crate.ok("network", "create", "--internal", "inner")
    routes = box.run("--network", "inner", "@", "ip", "route")
    assert "default" not in routes
    assert "eth0" in routes


def test_networks_do_not_reach_each_other(pasta_box: Ready) -> None:
    for name in ("one", "two"):
        pasta_box.crate.ok("network", "create", "--internal", name)
    pasta_box.detached("--name", "web", "--network", "one", "@", "sh", "-c", SERVE)
    address = pasta_box.crate.ok("inspect", "-f", "{{.NetworkSettings.Networks.one.IPAddress}}", "web")
    gateway = pasta_box.crate.ok("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "two")
    lines = f"ip route add default via {gateway}; ip route; {fetching(address, 80)}"
    said = pasta_box.run("--network", "two", "--cap-add", "NET_ADMIN", "@", "sh", "-c", lines)
    assert f"default via {gateway}" in said
    assert "hello" not in said
    assert "hello" in pasta_box.run("--network", "one", "@", "sh", "-c", fetching(address, 80))


def test_the_machines_loopback_is_closed_to_containers(out_box: Ready) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for address in ("10.0.2.2", "127.0.0.1"):
            done = out_box("--network", "bridge", "@", "nc", "-w", "2", address, str(port))
            assert done.returncode != 0, address


def test_what_comes_from_a_container_reaches_the_machine_by_its_address(out_box: Ready) -> None:
    address = own_address()
    with socket.create_server((address, 0)) as server:
        server.settimeout(20)
        started = out_box.start(
            "--network", "bridge", "@", "sh", "-c", f"echo hello | nc -w 5 {address} {server.getsockname()[1]}"
        )
        connection, _ = server.accept()
        with connection:
            assert connection.recv(16) == b"hello\n"
        assert started.wait(timeout=30) == 0


def test_a_network_is_joined_and_left_while_it_runs(pasta_box: Ready, until: Until) -> None:
    crate = pasta_box.crate
    for words in (("--internal", "inner"), ("outer",)):
        crate.ok("network", "create", *words)
    crate_id = pasta_box.detached("--network", "inner", "--name", "web", "@", "sh", "-c", SERVE)
    assert "tap0" not in crate.ok("exec", crate_id, "ip", "addr")
    crate.ok("network", "connect", "outer", "web")
    assert "default via 10.0.2.2 dev tap0" in crate.ok("exec", "web", "ip", "route")
    crate.ok("network", "disconnect", "outer", "web")
    until(lambda: "tap0" not in crate.ok("exec", "web", "ip", "addr"))
    assert not list((crate.state / "networks" / "outside").glob("*.pid"))


def test_a_restarted_container_is_reached_as_before(out_box: Ready, until: Until) -> None:
    port = free_port()
    out_box.detached("--name", "web", "--network", "bridge", "-p", f"{port}:80", "@", "sh", "-c", SERVE)
    patiently(until, "127.0.0.1", port)
    out_box.crate.ok("restart", "-t", "0", "web")
    assert patiently(until, "127.0.0.1", port) == "hello"


def test_with_the_last_container_the_namespace_and_all_programs_end(out_box: Ready, until: Until) -> None:
    out_box.run("--network", "bridge", "-p", f"{free_port()}:80", "@", "true")
    assert not (out_box.crate.state / "networks" / "holder").exists()
    until(lambda: not left_of(out_box.crate))


def test_what_a_killed_container_and_supervisor_leave_is_gone_after_the_next_command(out_box: Ready, until: Until) -> None:
    port = free_port()
    out_box.detached("--name", "web", "--network", "bridge", "-p", f"{port}:80", "@", "sh", "-c", SERVE)
    patiently(until, "127.0.0.1", port)
    way = outside_pid(out_box.crate)
    init = int(out_box.crate.ok("inspect", "-f", "{{.State.Pid}}", "web"))
    supervisor = int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1])
    guardian = int(Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1])
    kill_at_once(guardian, supervisor, init)
    assert out_box.run("--network", "bridge", "-p", f"{port}:80", "@", "echo", "free") == "free"
    until(lambda: not Path(f"/proc/{way}/ns/net").exists())


@pytest.mark.parametrize("state", ["awake", "asleep"])
def test_a_way_outside_that_is_killed_is_there_again_and_connections_by_ports_stay(
    out_box: Ready, until: Until, state: str
) -> None:
    crate, port = out_box.crate, free_port()
    out_box.detached("--name", "web", "--network", "bridge", "-p", f"{port}:80", "@", "sh", "-c", "nc -ll -p 80 -e cat")
    with _echoing(port, until) as sock:
        if state == "asleep":
            supervisor = _parent(_init(crate, "web"))
            until(lambda: _memory(supervisor) < 1000)
        for _ in range(3):
            before = outside_pid(crate)
            os.kill(before, signal.SIGKILL)
            until(lambda before=before: _way(crate) not in {0, before})
            until(lambda: "default via 10.0.2.2 dev tap0" in crate.ok("exec", "web", "ip", "route"))
        sock.sendall(b"still")
        assert sock.recv(5, socket.MSG_WAITALL) == b"still"
    assert _outside_works(crate)
    crate.ok("rm", "-f", "web")
    until(lambda: not left_of(crate))


def test_a_way_outside_that_cannot_be_had_again_leaves_the_container_alone(pasta_box: Ready, until: Until) -> None:
    crate = pasta_box.crate
    pasta_box.detached("--name", "web", "--network", "bridge", "@", "sleep", "1000")
    pasta = crate.directory.parent / "programs" / "pasta"
    pasta.unlink()
    os.kill(outside_pid(crate), signal.SIGKILL)
    until(lambda: "tap0" not in crate.ok("exec", "web", "ip", "addr"))
    assert crate.ok("exec", "web", "echo", "lives") == "lives"
    pasta.symlink_to("/usr/bin/pasta")  # it is tried again some seconds later, and when its supervisor is told of a change

    def is_back() -> bool:
        if "default via 10.0.2.2" in crate.ok("exec", "web", "ip", "route"):
            return True
        crate.ok("update", "--restart", "no", "web")
        return False

    until(is_back, 60.0)
    crate.ok("rm", "-f", "web")
    until(lambda: not left_of(crate))


def test_where_bridges_are_killed_containers_are_on_them_again_with_address_names_and_ports(
    out_box: Ready, until: Until
) -> None:
    crate, port = out_box.crate, free_port()
    crate.ok("network", "create", "lan")
    crate.ok("network", "create", "--internal", "inner")
    words = ("--network", "lan", "--network", "inner", "-p", f"{port}:80")
    out_box.detached("--name", "web", *words, "@", "sh", "-c", SERVE)
    out_box.detached("--name", "other", "--network", "inner", "@", "sleep", "1000")
    patiently(until, "127.0.0.1", port)
    before = _addresses(crate, "web")
    for _ in range(2):
        holder = _holder(crate)
        os.kill(holder, signal.SIGKILL)
        until(lambda holder=holder: _holder(crate) not in {0, holder})
        assert patiently(until, "127.0.0.1", port) == "hello"
        asked = f"nslookup web >/dev/null && {fetching(before[1], 80)}"
        until(lambda asked=asked: crate("exec", "other", "sh", "-c", asked).stdout.strip() == "hello")
        assert _addresses(crate, "web") == before
    assert out_box.run("--network", "lan", "@", "sh", "-c", fetching(before[0], 80)) == "hello"
    for name in ("web", "other"):
        crate.ok("rm", "-f", name)
    until(lambda: not left_of(crate))


def test_what_a_container_has_joined_while_it_runs_is_looked_after_as_well(pasta_box: Ready, until: Until) -> None:
    crate = pasta_box.crate
    for words in (("--internal", "inner"), ("outer",)):
        crate.ok("network", "create", *words)
    pasta_box.detached("--name", "web", "--network", "inner", "@", "sleep", "1000")
    crate.ok("network", "connect", "outer", "web")
    before = outside_pid(crate)
    os.kill(before, signal.SIGKILL)
    until(lambda: _way(crate) not in {0, before})
    crate.ok("network", "disconnect", "outer", "web")
    until(lambda: "tap0" not in crate.ok("exec", "web", "ip", "addr"))
    assert _way(crate) == 0


@contextmanager
def _echoing(port: int, until: Until) -> Iterator[socket.socket]:
    """Be connected with the echo in the container, once it is there."""

    def dialled() -> socket.socket | None:
        sock = socket.create_connection(("127.0.0.1", port), 30)
        try:
            sock.sendall(b"x")
            if sock.recv(1) == b"x":
                return sock
        except OSError:
            pass
        sock.close()
        return None

    found = until(dialled)
    assert isinstance(found, socket.socket)
    with found:
        yield found


def _init(crate: Crate, name: str) -> int:
    return int(crate.ok("inspect", "-f", "{{.State.Pid}}", name))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _memory(pid: int) -> int:
    """Return what a process has in memory, in kB."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


def _way(crate: Crate) -> int:
    """Return the way outside of the one container that has one, 0 in a moment in which there is none."""
    try:
        return outside_pid(crate)
    except (OSError, ValueError, IndexError):
        return 0


def _holder(crate: Crate) -> int:
    try:
        return int((crate.state / "networks" / "holder").read_text().split()[0])
    except (OSError, IndexError):
        return 0


def _addresses(crate: Crate, name: str) -> list[str]:
    """Return the container's addresses at eth0 and eth1."""
    found = {line.split()[1]: line.split()[3] for line in crate.ok("exec", name, "ip", "-4", "-o", "addr").splitlines()}
    return [found[one].partition("/")[0] for one in ("eth0", "eth1")]


def _outside_works(crate: Crate) -> bool:
    """Whether a container's words reach this machine at its own address."""
    address = own_address()
    with socket.create_server((address, 0)) as server:
        server.settimeout(60)
        asked = f"echo hello | nc -w 30 {address} {server.getsockname()[1]}"
        client = crate.start("exec", "web", "sh", "-c", asked)
        connection, _ = server.accept()
        with connection:
            said = connection.recv(16)
        client.wait(timeout=60)
    return said == b"hello\n"


def test_ipv6_between_containers_and_from_loopback(pasta_box: Ready, until: Until) -> None:
    port = free_port()
    if not Path("/proc/net/ipv6_route").exists():
        pytest.skip("this kernel has no IPv6")
    pasta_box.crate.ok("network", "create", "--ipv6", "six")
    pasta_box.detached("--name", "web", "--network", "six", "-p", f"{port}:80", "@", "sh", "-c", SERVE)
    patiently(until, "127.0.0.1", port)
    address = pasta_box.crate.ok("inspect", "-f", "{{.NetworkSettings.Networks.six.GlobalIPv6Address}}", "web")
    assert pasta_box.run("--network", "six", "@", "sh", "-c", fetching(address, 80)) == "hello"


# What cannot be


def test_without_any_program_it_is_said_what_to_install(user_box: Ready) -> None:
    box = replace(user_box, crate=without_programs(user_box.crate))
    said = box.fails("--network", "bridge", "@", "true")
    assert "neither pasta nor slirp4netns is installed" in said
    assert "passt" in said
    assert not left_of(box.crate)


def test_a_tun_device_that_is_closed_is_told_with_what_would_open_it(user_box: Ready) -> None:
    if reason := tun.why_not():
        pytest.skip(reason)
    if os.geteuid() or tun.TUN.stat().st_mode & 0o006:
        pytest.skip("/dev/net/tun is open to everybody here")
    said = user_box.fails("--network", "bridge", "@", "true")
    assert "/dev/net/tun, which is closed to you" in said
    assert "chmod 0666 /dev/net/tun" in said


def test_a_low_port_is_explained(pasta_box: Ready) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        pytest.skip("port 80 is everybody's here")
    said = pasta_box.fails("--network", "bridge", "-p", "80:80", "@", "true")
    assert "ports below" in said
    assert "ip_unprivileged_port_start=80" in said


def test_sctp_is_refused(out_box: Ready) -> None:
    assert "tcp and udp alone" in out_box.fails("--network", "bridge", "-p", f"{free_port()}:80/sctp", "@", "true")


def test_a_port_that_is_taken_is_told_before_anything_is_made(out_box: Ready) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"port {port}/tcp is in use" in out_box.fails("--network", "bridge", "-p", f"127.0.0.1:{port}:80", "@", "true")
    assert not list((out_box.crate.state / "networks" / "outside").glob("*"))


def test_ten_at_once_have_an_address_each(pasta_box: Ready) -> None:
    pasta_box.crate.ok("network", "create", "--internal", "many")
    started = [
        pasta_box.start("--network", "many", "@", "ip", "-4", "addr", "show", "eth0", stdout=subprocess.PIPE) for _ in range(10)
    ]
    said = [one.communicate(timeout=120)[0].decode() for one in started]
    assert [one.returncode for one in started] == [0] * 10
    addresses = {text.split("inet ")[1].split("/")[0] for text in said}
    assert len(addresses) == 10


def test_info_tells_what_keeps_containers_from_the_outside(user_box: Ready, outward: Crate) -> None:
    warnings = json.loads(without_programs(user_box.crate).ok("info", "--format", "{{json .Warnings}}"))
    assert [one for one in warnings if one.startswith("only internal networks: ") and "apt-get install passt" in one]
    if shutil.which("pasta") or shutil.which("slirp4netns"):
        assert "only internal networks" not in outward.ok("info", "--format", "{{json .Warnings}}")


def _offline(crate: Crate) -> Crate:
    """On a machine that has its loopback alone."""
    lo = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    return crate.within((*lo, *crate.prefix))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to take the machine's network away")
def test_on_a_machine_without_a_way_out_slirp4netns_works_and_pasta_tells_why_not(out_box: Ready, until: Until) -> None:
    done = replace(out_box, crate=_offline(out_box.crate))("--network", "bridge", "@", "ip", "route")
    if "pasta" in os.listdir(out_box.crate.directory.parent / "programs") and done.returncode:  # new releases work
        assert done.returncode == 125
        assert "this machine has no default route: slirp4netns does without" in done.stderr
    else:
        assert "default via 10.0.2.2" in done.stdout, done.stderr
    until(lambda: not left_of(out_box.crate))


def test_bridges_that_were_lost_are_there_again_for_the_next_container(pasta_box: Ready, until: Until) -> None:
    pasta_box.crate.ok("network", "create", "--internal", "lan")
    pasta_box.detached("--name", "old", "--network", "lan", "@", "sleep", "100")
    holder = int((pasta_box.crate.state / "networks" / "holder").read_text().split()[0])
    os.kill(holder, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{holder}/ns/net").exists())
    pasta_box.detached("--name", "web", "--network", "lan", "@", "sh", "-c", SERVE)
    address = pasta_box.crate.ok("inspect", "-f", "{{.NetworkSettings.Networks.lan.IPAddress}}", "web")
    assert pasta_box.run("--network", "lan", "@", "sh", "-c", fetching(address, 80)) == "hello"


def test_a_way_outside_whose_start_was_killed_is_ended_though_others_have_leases(pasta_box: Ready, until: Until) -> None:
    pasta_box.detached("--name", "web", "--network", "bridge", "@", "sleep", "100")
    way, there = outside_pid(pasta_box.crate), pasta_box.crate.state / "networks" / "outside"
    strange = f"{'f' * 64}.pid"
    stray = pasta_box.crate.person.start(["sh", "-c", "exec sleep 100", f"{there}/{strange}"])
    try:
        (there / strange).write_text(str(stray.pid))
        pasta_box.run("--network", "bridge", "@", "true")
        assert not (there / strange).exists()
        assert Path(f"/proc/{way}/ns/net").exists()
    finally:
        stray.kill()
        stray.wait()
