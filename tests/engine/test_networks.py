"""Networks as a person types them: containers that reach each other and are reached, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.kin import kill_at_once

SERVER = "echo heard > /index.html && httpd -f -h /"


def word() -> str:
    """Return a name that no other test has."""
    return "n" + os.urandom(4).hex()


def fetched(port: int, address: str = "127.0.0.1") -> str:
    """Return what a web server of this machine says, waiting until it serves."""
    host = f"[{address}]" if ":" in address else address
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/", timeout=3) as answer:
                return str(answer.read().decode().strip())
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, f"nothing is served at {host}:{port}"
            time.sleep(0.05)


def host_port(box: Any, name: str, port: str = "80") -> int:
    return int(box.crate.ok("port", name, port).splitlines()[0].rpartition(":")[2])


def inspected(box: Any, name: str) -> dict[str, Any]:
    return json.loads(box.crate.ok("inspect", name))[0]  # type: ignore[no-any-return]


def address_of(box: Any, name: str, network: str) -> str:
    return str(inspected(box, name)["NetworkSettings"]["Networks"][network]["IPAddress"])


ASK = "i=0; until wget -qO- http://{0}/; do i=$((i+1)); [ $i -lt 50 ] || exit 1; sleep 0.1; done"


# --- the default network ---------------------------------------------------------------------------------------------


def test_without_a_word_a_container_is_on_the_bridge(net_box) -> None:
    identity = net_box.crate.ok("create", net_box.image, "true", env={"CRATE_NETWORK": ""})
    assert inspected(net_box, identity)["HostConfig"]["NetworkMode"] == "bridge"
    script = "ls /sys/class/net | grep -c eth0"
    assert net_box.run("@", "sh", "-c", script, env={"CRATE_NETWORK": ""}) == "1"


def test_on_the_bridge_a_container_has_an_address_which_its_name_stands_for(net_box) -> None:
    script = "hostname -i; ip -4 addr show eth0"
    said = net_box.run("--network", "bridge", "--hostname", "inside", "@", "sh", "-c", script)
    address, _, interface = said.partition("\n")
    assert f"inet {address}/" in interface


def test_containers_of_the_bridge_reach_each_other_by_address(net_box) -> None:
    net_box.detached("--name", "web", "--network", "bridge", "@", "sh", "-c", SERVER)
    settings = inspected(net_box, "web")["NetworkSettings"]
    assert settings["IPAddress"] == settings["Networks"]["bridge"]["IPAddress"]
    assert net_box.run("--network", "bridge", "@", "sh", "-c", ASK.format(settings["IPAddress"])) == "heard"


def test_network_inspect_tells_who_is_there_and_who_has_left(net_box) -> None:
    identity = net_box.detached("--name", "web", "--network", "bridge", "@", "sleep", "100")
    members = json.loads(net_box.crate.ok("network", "inspect", "bridge"))[0]["Containers"]
    assert list(members) == [identity]
    assert members[identity]["Name"] == "web"
    assert members[identity]["IPv4Address"].partition("/")[0] == address_of(net_box, "web", "bridge")
    net_box.crate.ok("rm", "-f", "web")
    assert json.loads(net_box.crate.ok("network", "inspect", "bridge"))[0]["Containers"] == {}


@pytest.mark.parametrize(("network", "count"), [("none", "1"), ("", "1")])
def test_the_default_is_what_the_settings_say(root_box, network: str, count: str) -> None:
    script = "ls /sys/class/net | wc -l"
    if network:
        assert root_box.run("@", "sh", "-c", script, env={"CRATE_NETWORK": network}) == count
        return
    settings = root_box.crate.directory.parent / "settings.toml"
    before = settings.read_text() if settings.exists() else ""
    try:
        settings.write_text(before + '\n[networks]\ndefault = "none"\n')
        assert root_box.run("@", "sh", "-c", script, env={"CRATE_NETWORK": ""}) == count
        settings.write_text(before + "\n[networks]\ndefault = 3\n")
        assert "[networks] default is not a text" in root_box.fails("@", "true", env={"CRATE_NETWORK": ""})
    finally:
        settings.write_text(before)


# --- networks of one's own -------------------------------------------------------------------------------------------


def test_containers_find_each_other_by_name_alias_and_short_id(net_box) -> None:
    name = word()
    net_box.crate.ok("network", "create", name)
    identity = net_box.detached("--name", "web", "--network", name, "--network-alias", "www", "@", "sh", "-c", SERVER)
    for asked in ("web", "www", identity[:12]):
        assert net_box.run("--network", name, "@", "sh", "-c", ASK.format(asked)) == "heard"
    assert inspected(net_box, "web")["NetworkSettings"]["Networks"][name]["DNSNames"] == ["web", "www", identity[:12]]


def test_networks_are_closed_to_each_other(net_box) -> None:
    one, other, said = word(), word(), word()  # what another crate on the machine has at that address says something else
    net_box.crate.ok("network", "create", one)
    net_box.crate.ok("network", "create", other)
    net_box.detached("--name", "web", "--network", one, "@", "sh", "-c", SERVER.replace("heard", said))
    address = address_of(net_box, "web", one)
    assert net_box.run("--network", one, "@", "sh", "-c", ASK.format(address)) == said
    script = f"(printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 1) | nc -w 1 {address} 80"
    assert net_box.run("--network", one, "@", "sh", "-c", f"until {script} | grep {said}; do :; done") == said
    assert said not in net_box("--network", other, "@", "sh", "-c", script).stdout
    assert net_box("--network", other, "@", "nslookup", "web").returncode == 1


def test_a_container_is_on_several_networks_at_once(net_box) -> None:
    one, other = word(), word()
    net_box.crate.ok("network", "create", one)
    net_box.crate.ok("network", "create", "--internal", other)
    flags = ("--network", one, "--network", f"name={other},alias=there")
    net_box.detached("--name", "web", *flags, "@", "sh", "-c", SERVER)
    assert sorted(inspected(net_box, "web")["NetworkSettings"]["Networks"]) == sorted((one, other))
    assert net_box.run("--network", one, "@", "sh", "-c", ASK.format("web")) == "heard"
    assert net_box.run("--network", other, "@", "sh", "-c", ASK.format("there")) == "heard"
    assert net_box.crate.ok("ps", "--format", "{{.Networks}}") == f"{one},{other}"


def test_a_container_is_put_on_a_network_and_taken_off_while_it_runs(net_box) -> None:
    one, other = word(), word()
    net_box.crate.ok("network", "create", one)
    net_box.crate.ok("network", "create", other)
    net_box.detached("--name", "web", "--network", one, "@", "sh", "-c", SERVER)
    net_box.crate.ok("network", "connect", "--alias", "www", other, "web")
    address = address_of(net_box, "web", other)
    assert address in net_box.crate.ok("exec", "web", "cat", "/etc/hosts")
    assert net_box.run("--network", other, "@", "sh", "-c", ASK.format("www")) == "heard"
    net_box.crate.ok("network", "disconnect", other, "web")
    assert address not in net_box.crate.ok("exec", "web", "cat", "/etc/hosts")
    assert net_box.crate.ok("exec", "web", "sh", "-c", "ls /sys/class/net | grep -c eth") == "1"
    assert net_box("--network", other, "@", "nslookup", "www").returncode == 1
    assert net_box.run("--network", one, "@", "sh", "-c", ASK.format("web")) == "heard"


def test_what_was_connected_is_there_again_after_a_restart(net_box) -> None:
    one, other = word(), word()
    net_box.crate.ok("network", "create", one)
    net_box.crate.ok("network", "create", other)
    net_box.detached("--name", "web", "--network", one, "@", "sleep", "100")
    net_box.crate.ok("network", "connect", other, "web")
    net_box.crate.ok("network", "disconnect", one, "web")
    net_box.crate.ok("restart", "-t", "0", "web")
    assert list(inspected(net_box, "web")["NetworkSettings"]["Networks"]) == [other]
    assert net_box.crate.ok("exec", "web", "hostname", "-i") == address_of(net_box, "web", other)


def test_one_that_does_not_run_is_connected_for_its_next_start(root_box) -> None:
    name = word()
    root_box.crate.ok("network", "create", "--subnet", subnet(), name)
    root_box.create("--name", "web", "--network", "bridge", "@", "sh", "-c", "ls /sys/class/net | grep -c eth")
    root_box.crate.ok("network", "connect", name, "web")
    assert root_box.crate.ok("start", "-a", "web") == "2"


def test_the_way_outside_of_one_that_was_connected_is_the_network_with_the_highest_priority(root_box) -> None:
    name = word()
    root_box.crate.ok("network", "create", "--subnet", subnet(), name)
    root_box.create("--name", "web", "--network", "bridge", "@", "ip", "route", "show", "default")
    root_box.crate.ok("network", "connect", "--gw-priority", "1", name, "web")
    gateway = root_box.crate.ok("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", name)
    assert root_box.crate.ok("start", "-a", "web").startswith(f"default via {gateway} ")


def test_a_renamed_container_is_found_by_its_new_name(root_box) -> None:
    name = word()
    root_box.crate.ok("network", "create", name)
    root_box.detached("--name", "before", "--network", name, "@", "sh", "-c", SERVER)
    root_box.crate.ok("rename", "before", "after")
    assert root_box.run("--network", name, "@", "sh", "-c", ASK.format("after")) == "heard"
    assert root_box("--network", name, "@", "nslookup", "before").returncode == 1


@pytest.mark.parametrize("network", ["bridge", "own"])
def test_a_container_that_is_started_again_has_the_address_that_it_had(net_box, network: str) -> None:
    if network == "own":
        network = word()
        net_box.crate.ok("network", "create", network)
    net_box.detached("--name", "web", "--network", network, "@", "sh", "-c", SERVER)
    net_box.detached("--network", network, "@", "sleep", "1000")

    def told() -> tuple[str, str]:
        one = inspected(net_box, "web")["NetworkSettings"]["Networks"][network]
        assert net_box.run("--network", network, "@", "sh", "-c", ASK.format(one["IPAddress"])) == "heard"
        return one["IPAddress"], one["MacAddress"]

    before = told()
    net_box.crate.ok("restart", "-t", "0", "web")
    assert told() == before
    net_box.crate.ok("stop", "-t", "0", "web")
    net_box.run("--network", network, "@", "true")  # who comes meanwhile takes another one
    net_box.crate.ok("start", "web")
    assert told() == before


def two_ports() -> tuple[socket.socket, int]:
    """Return a port that is taken, and the next one, which is not; none that the kernel gives to anybody who wants any."""
    while True:
        number = random.randrange(10000, 30000)
        try:
            socket.create_server(("", number + 1)).close()
            return socket.create_server(("", number)), number + 1
        except OSError:
            continue


def test_a_container_that_is_started_again_has_the_port_that_it_had(net_box) -> None:
    taken, port = two_ports()
    with taken:
        net_box.detached("--name", "web", "--network", "bridge", "-p", f"{port - 1}-{port}:80", "@", "sleep", "1000")
    assert host_port(net_box, "web") == port
    net_box.crate.ok("restart", "-t", "0", "web")
    assert host_port(net_box, "web") == port  # though the first of the range is free by now
    net_box.crate.ok("stop", "-t", "0", "web")
    with socket.create_server(("", port)):
        net_box.crate.ok("start", "web")
        assert host_port(net_box, "web") == port - 1


def test_an_address_that_is_anothers_by_now_is_not_had_again(root_box) -> None:
    network = word()
    root_box.crate.ok("network", "create", network)
    root_box.detached("--name", "web", "--network", network, "@", "sleep", "1000")
    address = address_of(root_box, "web", network)
    root_box.crate.ok("stop", "-t", "0", "web")
    root_box.detached("--network", network, "--ip", address, "@", "sleep", "1000")
    root_box.crate.ok("start", "web")
    assert address_of(root_box, "web", network) not in {"", address}


def test_what_a_stopped_container_had_may_be_damaged(root_box) -> None:
    network = word()
    root_box.crate.ok("network", "create", network)
    identity = root_box.create("--name", "web", "--network", network, "@", "sleep", "1000")
    root_box.crate.ok("start", "web")
    root_box.crate.ok("stop", "-t", "0", "web")
    had = root_box.crate.root / "containers" / identity / "network.json"
    had.write_text(had.read_text()[:-20])
    root_box.crate.ok("start", "web")
    assert address_of(root_box, "web", network)


def test_a_restart_policy_brings_the_network_back_with_address_and_port(net_box, until: Callable[..., object]) -> None:
    name = word()
    net_box.crate.ok("network", "create", name)
    script = "hostname -i >> /index.html; [ -e /again ] && exec httpd -f -h /; touch /again; sleep 1; exit 1"
    net_box.detached("--name", "web", "--restart", "on-failure", "--network", name, "-p", "80", "@", "sh", "-c", script)
    port = host_port(net_box, "web")
    until(lambda: inspected(net_box, "web")["RestartCount"] == 1)
    before, after = net_box.run("--network", name, "@", "sh", "-c", ASK.format("web")).splitlines()
    assert before == after
    until(lambda: net_box.crate("port", "web").stdout)
    assert host_port(net_box, "web") == port


def test_a_supervisor_that_is_killed_keeps_the_ports(root_box, until: Callable[..., object]) -> None:
    root_box.detached("--name", "web", "--network", "bridge", "-p", "80", "@", "sh", "-c", SERVER)
    port, pid = host_port(root_box, "web"), int(inspected(root_box, "web")["State"]["Pid"])
    supervisor = parent(pid)
    assert Path(f"/proc/{supervisor}/comm").read_text().strip() == "crate-superviso"
    guardian = parent(supervisor)
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: parent(pid) == guardian)
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", port)).close()
    assert fetched(port) == "heard"
    root_box.crate.ok("rm", "-f", "web")
    socket.create_server(("127.0.0.1", port)).close()


def test_after_a_reboot_networks_are_made_again(root_box) -> None:
    name = word()
    root_box.crate.ok("network", "create", name)
    root_box.create("--name", "web", "--network", name, "-p", "80", "@", "hostname", "-i")
    root_box.crate.ok("start", "-a", "web")
    shutil.rmtree(root_box.crate.state)
    assert root_box.crate.ok("start", "-a", "web")


def test_the_network_of_another_container_is_shared_with_its_names(net_box) -> None:
    name = word()
    net_box.crate.ok("network", "create", name)
    net_box.detached(
        "--name", "web", "--network", name, "--hostname", "front", "--add-host", "db:10.0.0.7", "@", "sh", "-c", SERVER
    )
    shared = ("--network", "container:web", "@", "sh", "-c")
    assert net_box.run(*shared, ASK.format("127.0.0.1")) == "heard"
    assert net_box.run(*shared, "hostname; grep -c db /etc/hosts; grep -c 127.0.0.11 /etc/resolv.conf") == "front\n1\n1"
    assert "publish" in net_box.fails("-p", "80", "--network", "container:web", "@", "true")
    assert "the names are those of the other container" in net_box.fails("--dns", "1.1.1.1", *shared, "true")


# --- published ports -------------------------------------------------------------------------------------------------


def test_a_published_port_is_reached_and_shown_and_free_again(net_box) -> None:
    net_box.detached("--name", "web", "--network", "bridge", "-p", "80", "@", "sh", "-c", SERVER)
    port = host_port(net_box, "web")
    assert fetched(port) == "heard"
    places = inspected(net_box, "web")["NetworkSettings"]["Ports"]["80/tcp"]
    assert places[0] == {"HostIp": "0.0.0.0", "HostPort": str(port)}
    assert places[1:] in ([{"HostIp": "::", "HostPort": str(port)}], [])  # no IPv6 where the way outside has none
    written = [f"[{one['HostIp']}]:{port}" if ":" in one["HostIp"] else f"{one['HostIp']}:{port}" for one in places]
    assert net_box.crate.ok("ps", "--format", "{{.Ports}}") == ", ".join(f"{place}->80/tcp" for place in written)
    assert net_box.crate.ok("port", "web").splitlines() == [f"80/tcp -> {place}" for place in written]
    assert net_box.crate.ok("ps", "-q", "--filter", "publish=80")
    assert not net_box.crate.ok("ps", "-q", "--filter", "publish=81")
    net_box.crate.ok("rm", "-f", "web")
    net_box.detached("--name", "next", "--network", "bridge", "-p", f"127.0.0.1:{port}:80", "@", "sh", "-c", SERVER)
    assert fetched(port) == "heard"
    assert net_box.crate.ok("port", "next") == f"80/tcp -> 127.0.0.1:{port}"


def test_a_port_that_another_container_has_is_refused_by_name(net_box) -> None:
    net_box.detached("--name", "web", "--network", "bridge", "-p", "80", "@", "sleep", "100")
    port = host_port(net_box, "web")
    said = net_box.fails("--name", "second", "--network", "bridge", "-p", f"{port}:80", "@", "true")
    assert f"port {port}/tcp" in said
    assert "web" in said
    assert net_box.crate.ok("ps", "-aq", "--filter", "name=second") == ""


def test_a_port_that_a_process_has_is_refused(net_box) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"port {port}/tcp" in net_box.fails("--network", "bridge", "-p", f"{port}:80", "@", "true")


def test_while_a_container_runs_no_other_process_gets_its_port(root_box) -> None:
    root_box.detached("--name", "web", "--network", "bridge", "-p", "80", "@", "sleep", "100")
    port = host_port(root_box, "web")
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", port)).close()
    root_box.crate.ok("rm", "-f", "web")
    socket.create_server(("127.0.0.1", port)).close()


def test_all_exposed_ports_are_published_where_that_is_wished(root_box) -> None:
    root_box.detached(
        "--name", "web", "--network", "bridge", "-P", "--expose", "80", "--expose", "90-91/udp", "@", "sleep", "100"
    )
    published = [line.partition(" ")[0] for line in root_box.crate.ok("port", "web").splitlines()]
    assert published == ["80/tcp", "90/udp", "91/udp"]
    assert sorted(inspected(root_box, "web")["Config"]["ExposedPorts"]) == ["80/tcp", "90/udp", "91/udp"]


def test_a_range_gives_the_first_free_port(root_box) -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        if port > 65000:
            pytest.skip("no room above the port")
        root_box.detached("--name", "web", "--network", "bridge", "-p", f"{port}-{port + 20}:80", "@", "sleep", "100")
        assert port < host_port(root_box, "web") <= port + 20


# --- names -----------------------------------------------------------------------------------------------------------


def test_hosts_and_resolv_conf_say_what_was_asked_for(net_box) -> None:
    flags = (
        "--network", "bridge", "--hostname", "web", "--domainname", "example.org", "--add-host", "db:10.0.0.7",
        "--add-host", "six=[fd00::7]", "--dns", "10.9.9.9", "--dns-search", "example.net", "--dns-option", "ndots:3",
    )  # fmt: skip
    said = net_box.run(*flags, "@", "sh", "-c", "hostname; cat /etc/hosts /etc/resolv.conf")
    lines = [line.split() for line in said.splitlines()]
    assert lines[0] == ["web.example.org"]
    assert ["10.0.0.7", "db"] in lines
    assert ["fd00::7", "six"] in lines
    assert any(line[1:] == ["web.example.org", "web"] for line in lines)
    assert [line for line in lines if line[0] in {"nameserver", "search", "options"}] == [
        ["nameserver", "10.9.9.9"], ["search", "example.net"], ["options", "ndots:3"],
    ]  # fmt: skip


def test_host_gateway_is_this_machine(net_box) -> None:
    with socket.create_server(("", 0)) as server:
        server.settimeout(30)
        words = ("--network", "bridge", "--add-host", "up:host-gateway", "@", "nc", "up", str(server.getsockname()[1]))
        with net_box.start(*words, stdin=subprocess.DEVNULL) as running:
            server.accept()[0].close()
            assert running.wait(30) == 0


# --- what is refused -------------------------------------------------------------------------------------------------


def subnet() -> str:
    """Return a range that no other test has."""
    low, high = os.urandom(2)
    return f"10.{160 + low % 64}.{high}.0/24"


def test_an_address_is_given_as_it_was_asked_for_or_refused(net_box) -> None:
    name, own = word(), subnet()
    net_box.crate.ok("network", "create", "--subnet", own, name)
    address = own.replace(".0/24", ".77")
    net_box.detached(
        "--name", "web", "--network", name, "--ip", address, "--mac-address", "02:11:22:33:44:55", "@", "sleep", "100"
    )
    assert net_box.crate.ok("exec", "web", "cat", "/sys/class/net/eth0/address") == "02:11:22:33:44:55"
    assert address_of(net_box, "web", name) == address
    assert "web" in net_box.fails("--network", name, "--ip", address, "@", "true")
    assert "10.1.2.3" in net_box.fails("--network", name, "--ip", "10.1.2.3", "@", "true")
    assert "exists" in (said := net_box.crate.fails("network", "create", name)) or "there is a network" in said
    assert own.partition("/")[0] in net_box.crate.fails("network", "create", "--subnet", own, word())


def test_a_network_that_is_in_use_stays(net_box) -> None:
    name = word()
    net_box.crate.ok("network", "create", name)
    net_box.detached("--name", "web", "--network", name, "@", "sleep", "100")
    assert "web" in net_box.crate.fails("network", "rm", name, code=1)
    net_box.crate.ok("rm", "-f", "web")
    assert net_box.crate.ok("network", "rm", name) == name
    assert "no network" in net_box.crate.fails("network", "rm", name, code=1)
    assert net_box.crate.ok("network", "rm", "-f", name) == name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--network", "nowhere"), "no network nowhere"),
        (("--network", "host", "--network", "bridge"), "cannot be had together"),
        (("--network", "bridge", "--network", "bridge"), "is there twice"),
        (("--network", "none", "-p", "80"), "nothing to publish"),
        (("--network", "none", "--ip", "10.0.0.1"), "no address, alias or hardware address"),
        (("--network", "bridge", "--network-alias", "web"), "there are no names"),
        (("--network", "bridge", "--ip", "1.2.3"), "not an IPv4 address"),
        (("--network", "bridge", "--mac-address", "01:00:00:00:00:01"), "hardware address"),
        (("-p", "80:90:100:110"), "cannot read"),
        (("-p", "70000"), "not a port"),
        (("-p", "80:80/icmp"), "no such protocol"),
        (("-p", "8080-8090:80-81"), "different lengths"),
        (("--network", "bridge", "-p", "8080:80", "-p", "8080:81"), "is wanted for 80 and 81"),
        (("--network", "bridge", "-p", "10000-15000:10000-15000"), "5001 ports are more than"),
        (("-p", "x.y:80:80"), "is not an IP address"),
        (("--expose", "0"), "not a port"),
        (("--add-host", "db"), "not a name and an address"),
        (("--add-host", "db:x"), "is not an IP address"),
        (("--dns", "server"), "not an IP address"),
        (("--dns-search", "a..b"), "not a domain"),
        (("--network", "container:nobody"), "nobody"),
        (("--link-local-ip", "169.254.1.1"), "not there"),
    ],
)
def test_wrong_words_make_nothing(root_box, words: tuple[str, ...], message: str) -> None:
    assert message in root_box.fails(*words, "@", "true")
    assert root_box.crate.ok("ps", "-aq") == ""


def test_thousands_of_ports_are_published_and_withdrawn(root_box) -> None:
    root_box.run("--rm", "--network", "bridge", "-p", "23000-26999:3000-6999", "@", "true")
    name = word()
    root_box.crate.ok("network", "create", name)
    root_box.crate.ok("network", "rm", name)


def test_what_has_no_networks_cannot_be_connected(root_box) -> None:
    name = word()
    root_box.crate.ok("network", "create", name)
    root_box.create("--name", "alone", "--network", "none", "@", "true")
    root_box.create("--name", "web", "--network", name, "@", "true")
    assert "--network none" in root_box.crate.fails("network", "connect", name, "alone")
    assert "already" in root_box.crate.fails("network", "connect", name, "web")
    assert "is not on" in root_box.crate.fails("network", "disconnect", "bridge", "web")
    assert "no network that a container" in root_box.crate.fails("network", "connect", "host", "web")
    assert "cannot be removed" in root_box.crate.fails("network", "rm", "none", code=1)
    assert "something else" in root_box.crate.fails("network", "create", "host")


# --- what stays, and what does not -----------------------------------------------------------------------------------


def test_what_dies_with_its_supervisor_leaves_no_lease(net_box, until: Callable[..., object]) -> None:
    name = word()
    net_box.crate.ok("network", "create", name)
    net_box.detached("--name", "web", "--network", name, "-p", "80", "@", "sleep", "100")
    port = host_port(net_box, "web")
    pid = int(inspected(net_box, "web")["State"]["Pid"])
    supervisor = parent(pid)
    guardian = parent(supervisor)
    for one in (guardian, supervisor, pid):
        assert Path(f"/proc/{one}/comm").read_text().strip() in {
            "crate-guardian",
            "crate-superviso",
            "crate-supervisor",
            "sleep",
        }
    kill_at_once(guardian, supervisor, pid)
    until(lambda: not Path(f"/proc/{pid}").exists())
    net_box.detached("--name", "next", "--network", name, "-p", f"{port}:80", "@", "sleep", "100")
    members = json.loads(net_box.crate.ok("network", "inspect", name))[0]["Containers"]
    assert [one["Name"] for one in members.values()] == ["next"]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_events_tell_of_networks(root_box) -> None:
    name = word()
    root_box.crate.ok("network", "create", name)
    root_box.run("--network", name, "@", "true")
    root_box.crate.ok("network", "rm", name)
    said = root_box.crate.ok(
        "events", "--since", "24h", "--until", "0s", "--filter", f"network={name}", "--format", "{{.Action}}"
    )
    assert said.split() == ["create", "connect", "disconnect", "destroy"]


def test_networks_are_listed_and_pruned(root_box) -> None:
    one, other = word(), word()
    root_box.crate.ok("network", "create", "--label", "tier=front", one)
    root_box.crate.ok("network", "create", other)
    root_box.create("--network", other, "@", "true")
    names = root_box.crate.ok("network", "ls", "--format", "{{.Name}} {{.Driver}}").splitlines()
    assert names == sorted(["bridge bridge", "host host", "none null", f"{one} bridge", f"{other} bridge"])
    assert root_box.crate.ok("network", "ls", "-q", "--filter", "label=tier=front", "--no-trunc") in root_box.crate.ok(
        "network", "inspect", "-f", "{{.Id}}", one
    )
    assert root_box.crate.ok("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}").split() == sorted(
        (one, other)
    )
    assert root_box.crate.ok("network", "prune", "-f") == f"Deleted Networks:\n{one}\n"
    assert root_box.crate.ok("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}") == other
    assert other in root_box.crate.ok("system", "prune", "-f")


def test_a_network_is_what_was_asked_for(root_box) -> None:
    name, own = word(), subnet()
    base = own.removesuffix("0/24")
    root_box.crate.ok(
        "network", "create", "--subnet", own, "--gateway", base + "9", "--ip-range", base + "128/25", "--aux-address",
        f"printer={base}129", "--internal", "--ipv6", "--opt", "mtu=1400", "--label", "a=b", name,
    )  # fmt: skip
    found = json.loads(root_box.crate.ok("network", "inspect", name))[0]
    assert found["IPAM"]["Config"][0] == {
        "Subnet": own, "IPRange": base + "128/25", "Gateway": base + "9", "AuxiliaryAddresses": {"printer": base + "129"},
    }  # fmt: skip
    assert (found["Internal"], found["EnableIPv6"], found["Labels"], found["Options"]) == (
        True,
        True,
        {"a": "b"},
        {"mtu": "1400"},
    )
    said = root_box.run("--network", name, "@", "sh", "-c", "hostname -i; cat /sys/class/net/eth0/mtu; ip route")
    address, mtu, *routes = said.splitlines()
    assert int(address.split()[0].rpartition(".")[2]) in range(128, 255)
    assert mtu == "1400"
    assert not any(line.startswith("default") for line in routes)


def test_a_damaged_network_is_told_by_the_check(root_box) -> None:
    name = word()
    root_box.crate.ok("network", "create", name)
    root_box.crate.ok("system", "check", "--quick")
    record = root_box.crate.root / "networks" / f"{name}.json"
    whole = record.read_text()
    record.write_text("{")
    done = root_box.crate("system", "check", "--quick")
    assert done.returncode == 1
    assert f"network {name}" in done.stdout + done.stderr
    assert "damaged" in root_box.fails("--network", name, "@", "true")
    record.write_text(whole)  # so that its bridge is taken away
