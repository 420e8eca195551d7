"""linux.netDevices: an interface becomes the container's, with its name there and its addresses."""

from __future__ import annotations

import os
import subprocess

import pytest

from support import bundles

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making interfaces takes root")


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def pair(word):
    """Two interfaces that are connected: the first is for the container."""
    names = f"v{word[-8:]}a", f"v{word[-8:]}b"
    made = ip("link", "add", names[0], "type", "veth", "peer", "name", names[1])
    if made.returncode:
        pytest.skip(f"no veth: {made.stderr.strip()}")
    yield names
    for name in names:
        ip("link", "delete", name)


@pytest.fixture(params=["root", "userns"])
def oci(request, scratch, word, rootfs_template):
    yield from bundles.make_oci(request.param, scratch, word, rootfs_template)


SHOW = "cat /sys/class/net/{0}/operstate /sys/class/net/{0}/mtu; ip address show dev {0}; ls /sys/class/net"


@pytest.mark.parametrize(("given", "inside"), [({}, None), ({"name": "eth7"}, "eth7"), ({"name": "lan%d"}, "lan0")])
def test_a_device_is_moved_named_and_up_and_keeps_its_addresses(oci, pair, given, inside):
    ours, peer = pair
    inside = inside or ours
    ip("link", "set", ours, "mtu", "1400")
    ip("link", "set", peer, "up")
    ip("address", "add", "10.99.8.2/24", "broadcast", "10.99.8.255", "dev", ours)
    ip("address", "add", "fd99:8::2/64", "nodad", "dev", ours)
    bundle = oci.bundle("/bin/sh", "-c", SHOW.format(inside))
    bundle.linux["netDevices"] = {ours: given}
    said = oci.output(bundle)
    assert said.split()[:2] == ["up", "1400"]
    assert "inet 10.99.8.2/24 brd 10.99.8.255" in said
    assert "inet6 fd99:8::2/64 scope global" in said
    assert set(said.split()[-2:]) == {"lo", inside}


def test_a_device_is_moved_into_a_namespace_that_is_joined(oci, pair, word):
    made = ip("netns", "add", word)
    assert made.returncode == 0, made.stderr
    try:
        bundle = oci.bundle("/bin/sh", "-c", "cat /proc/net/dev")
        for one in bundle.linux["namespaces"]:
            if one["type"] == "network":
                one["path"] = f"/run/netns/{word}"
        if oci.kind == "userns":
            bundle.without("/sys")  # the kernel lets nobody else show another's network
        bundle.linux["netDevices"] = {pair[0]: {"name": "eth7"}}
        assert "eth7:" in oci.output(bundle)
        assert "eth7" in ip("-n", word, "-brief", "link").stdout, "it stays where it was moved to"
    finally:
        ip("netns", "delete", word)


def test_a_device_that_is_not_there_is_named_and_nothing_is_moved(oci, pair):
    bundle = oci.bundle("/bin/true")
    bundle.linux["netDevices"] = {pair[0]: {}, "no-such-device": {}}
    bundle.write()
    said = oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert "linux.netDevices: there is no network device 'no-such-device'" in said
    assert ip("link", "show", pair[0]).returncode == 0
    assert oci.left() == []


def test_a_name_that_is_taken_inside_is_refused(oci, pair):
    bundle = oci.bundle("/bin/true")
    bundle.linux["netDevices"] = {pair[0]: {"name": "lo"}}
    bundle.write()
    said = oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert "the container has a network device 'lo' already" in said
    assert ip("link", "show", pair[0]).returncode == 0


def test_a_device_that_cannot_be_moved_says_why(oci):
    bundle = oci.bundle("/bin/true")
    bundle.linux["netDevices"] = {"lo": {"name": "lo7"}}
    bundle.write()
    assert "cannot move the network device 'lo'" in oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert oci.left() == []


def test_an_ordinary_user_is_told_that_it_takes_root(scratch, word, rootfs_template, pair):
    made = bundles.make_oci("user", scratch, word, rootfs_template)
    oci = next(made)
    try:
        bundle = oci.bundle("/bin/true")
        bundle.linux["netDevices"] = {pair[0]: {}}
        bundle.write()
        said = oci.fails("run", "--bundle", bundle.directory, oci.name())
        assert "network device" in said
        assert ip("link", "show", pair[0]).returncode == 0
    finally:
        made.close()
