"""The namespace of a user's bridges, and sockets from inside of namespaces, as that user. `script` runs some lines as him."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import commands
from support.commands import Crate

HEAD = """
import os, sys
from cratebox.linux import netlink, process
from cratebox.network import inside, usernet
from cratebox.network.model import Place
place = Place(root=sys.argv[1], state=sys.argv[1], rootless=True)
os.makedirs(place.state + "/networks", exist_ok=True)
"""


@pytest.fixture
def script(rootless: Crate) -> Callable[[str], str]:
    """A function that runs lines of Python as the ordinary user and returns what they print."""
    package = commands.package_of(rootless.executable)
    python = commands.words_of(rootless.executable)[0]
    start = f"import sys; sys.path.insert(0, {str(package.parent)!r})\n"

    def run(lines: str) -> str:
        done = rootless.person.run([python, "-I", "-S", "-c", start + HEAD + lines, str(rootless.directory)])
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    run("usernet.end(place)")


def test_it_is_made_once_and_outlives_who_made_it(script: Callable[[str], str]) -> None:
    first = script("print(usernet.outside(place))")
    assert script("print(usernet.outside(place), usernet.holder(place))").split() == [first.strip()] * 2
    assert Path(f"/proc/{first.strip()}/comm").read_text() == "crate-networks\n"


def test_it_is_nobodys_child_and_has_nothing_open(script: Callable[[str], str]) -> None:
    pid = script("print(usernet.outside(place))").strip()
    opened = {str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()}
    assert opened == {"/dev/null"}
    assert int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) < 100  # kB


def test_it_forwards_nothing_whatever_the_machine_does(script: Callable[[str], str]) -> None:
    lines = """
child = os.fork()
if child == 0:
    from cratebox.linux import const, namespaces
    namespaces.setns(os.pidfd_open(usernet.outside(place)), const.CLONE_NEWUSER | const.CLONE_NEWNET)
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        print(open("/proc/sys/net/" + name).read().strip(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    script("usernet.outside(place)")
    assert script(lines).split() == ["0", "0"]


def test_its_end_is_its_interfaces_end(script: Callable[[str], str]) -> None:
    pid = script("print(usernet.outside(place))").strip()
    script("usernet.end(place)")
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/ns/net").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert script("print(usernet.holder(place), os.path.exists(place.state + '/networks/holder'))").split() == ["0", "False"]


def test_another_process_with_its_number_is_left_alone(script: Callable[[str], str]) -> None:
    lines = """
with open(place.state + "/networks/holder", "w") as file:
    file.write(f"{os.getppid()} {process.start_time(os.getppid()) + 1} {process.boot_id()}")
print(usernet.holder(place)); usernet.end(place); print(os.path.exists(place.state + "/networks/holder"))
"""
    assert script(lines).split() == ["0", "False"]


def test_a_pair_of_interfaces_between_two_user_namespaces_is_made_from_outside_of_both(script: Callable[[str], str]) -> None:
    lines = """
other = place.replace(state=place.state + "/other"); os.makedirs(other.state + "/networks")
try:
    bridges, container = usernet.outside(place), usernet.outside(other)
    out, = inside.open_sockets(bridges, True, (inside.NETLINK,))
    within, = inside.open_sockets(container, True, (inside.NETLINK,))
    netlink.perform(out, [netlink.bridge_message("b0", 0)])
    there = inside.namespace_of(within)
    veth = netlink.veth_message("v0", netlink.link_index(out, "b0"), there, "eth0", b"\\2\\0\\0\\0\\0\\1", 0)
    netlink.perform(out, [veth])
    print(sorted(netlink.links(out)), sorted(netlink.links(within)))
finally:
    usernet.end(other)
"""
    assert script(lines).strip() == "['b0', 'lo', 'v0'] ['eth0', 'lo']"


def test_sockets_of_one_visit_are_bound_where_they_were_made(script: Callable[[str], str]) -> None:
    lines = """
import _socket
kinds = (inside.NETFILTER, (2, 2, 0, ("127.0.0.11", 0)), (2, 1, 0, ("127.0.0.11", 53)))
settings = (("net/ipv4/ip_default_ttl", "63"), ("net/none/such", "1"))
_, udp, tcp = inside.open_sockets(usernet.outside(place), True, kinds, settings)
print(udp.getsockname()[0], tcp.getsockname()[1])  # a port that is root's on the machine
caller, = inside.open_sockets(usernet.outside(place), True, ((2, 1, 0, None),))
caller.connect(("127.0.0.11", 53)); print(caller.getsockopt(0, 2))
"""
    assert script(lines).split() == ["127.0.0.11", "53", "63"]


def test_what_cannot_be_made_inside_says_why(script: Callable[[str], str]) -> None:
    lines = """
try: inside.open_sockets(usernet.outside(place), True, ((2, 2, 0, ("203.0.113.1", 0)),))
except OSError as error: print(type(error).__name__, error.strerror)
"""
    assert script(lines).strip() == "OSError Cannot assign requested address"
