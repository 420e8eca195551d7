"""Addresses and ranges, beside the standard library's own."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cratebox.errors import InvalidValue
from cratebox.network import addresses

NETWORKS = st.one_of(
    st.builds(lambda n, p: ipaddress.ip_network((n, p), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(
        lambda n, p: ipaddress.ip_network((n.to_bytes(16, "big"), p), strict=False),
        st.integers(0, 2**128 - 1),
        st.integers(0, 128),
    ),
)


@settings(deadline=None)
@given(NETWORKS)
def test_a_range_is_what_the_standard_library_says(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    found = addresses.parse_range(str(network))
    assert (found.size, found.first, found.last) == (
        network.num_addresses,
        int(network.network_address),
        int(network.broadcast_address),
    )
    assert ipaddress.ip_network(str(found)) == network


@settings(deadline=None)
@given(NETWORKS, NETWORKS)
def test_ranges_overlap_where_the_standard_library_says_so(one: ipaddress.IPv4Network, two: ipaddress.IPv4Network) -> None:
    same = one.version == two.version
    found = addresses.parse_range(str(one)).overlaps(addresses.parse_range(str(two)))
    assert found == (same and one.overlaps(two))


@pytest.mark.parametrize(
    "words", ["", "/", "1.2.3/8", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/²", "::/129", "::1%eth0/64", "1.2.3.4/8 "]
)
def test_what_is_no_range_is_refused(words: str) -> None:
    with pytest.raises(InvalidValue):
        addresses.parse_range(words)


@settings(deadline=None)
@given(st.text(max_size=20))
def test_no_text_is_taken_for_an_address_that_is_none(text: str) -> None:
    try:
        found = addresses.packed(text)
    except InvalidValue:
        return
    assert ipaddress.ip_address(text).packed == found


@pytest.mark.parametrize(
    "words", ["", "02:42", "02-42-0a-00-00-0g", "002:42:0a:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"]
)
def test_what_is_no_hardware_address_is_refused(words: str) -> None:
    with pytest.raises(InvalidValue):
        addresses.parse_mac(words)


def test_hardware_addresses_are_docker_s() -> None:
    assert addresses.mac_of("10.90.0.2") == "02:42:0a:5a:00:02"
    assert addresses.parse_mac("02-42-0A-5A-00-02") == bytes.fromhex("02420a5a0002")
