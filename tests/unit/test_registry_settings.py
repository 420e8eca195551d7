"""Settings of registries, proxies and addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from cratebox.errors import InvalidValue, RegistryError
from cratebox.image.origin import Origin, is_forbidden, is_loopback, parse_url, redact
from cratebox.image.proxies import proxy_for
from cratebox.image.settings import load


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_a_file_that_is_not_there_means_the_defaults(tmp_path: Path) -> None:
    assert load(str(tmp_path / "none/config.toml")).insecure == ()


def test_insecure_registries_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[registries]\ninsecure = ["Registry.lan:5000"]\n[other]\nx = 1\n')
    assert load(str(tmp_path / "config.toml")).insecure == ("registry.lan:5000",)


@pytest.mark.parametrize(
    "text",
    ["[registries", "registries = 1", "[registries]\ninsecure = 'x'", "[registries]\ninsecure = [1]",
     "[registries]\nmirrors = []", "\udcff"],
)  # fmt: skip
def test_wrong_settings_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidValue, match=r"config\.toml"):
        load(str(tmp_path / "config.toml"))


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("", False), ("*", True), ("example.test", True), (".example.test", True), ("*.example.test", True),
        ("registry.example.test", True), ("registry.example.test:443", True), ("registry.example.test:80", False),
        ("other.test, example.test", True), ("ample.test", False), ("EXAMPLE.TEST", True), ("10.0.0.0/8", False),
    ],
)  # fmt: skip
def test_no_proxy_names_hosts_and_what_is_below_them(monkeypatch: pytest.MonkeyPatch, no_proxy: str, direct: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    proxy = proxy_for(parse_url("https://registry.example.test/v2/"))
    assert proxy == (None if direct else "http://proxy.test:3128")


@pytest.mark.parametrize(
    ("no_proxy", "direct"), [("10.0.0.0/8", True), ("10.1.2.3", True), ("10.1.2.3:5000", True), ("11.0.0.0/8", False)]
)
def test_no_proxy_names_networks(monkeypatch: pytest.MonkeyPatch, no_proxy: str, direct: bool) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.test")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert (proxy_for(parse_url("https://10.1.2.3:5000")) is None) == direct


def test_loopback_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test")
    assert proxy_for(parse_url("http://localhost:5000")) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["localhost.evil.test", "evil.localhost", "127.0.0.1.evil.test", "128.0.0.1", "::2", "0x7f000001", ""]
)
def test_what_looks_like_loopback_is_not(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "address",
    ["169.254.0.1", "fe80::1", "febf::1", "fe80::1%eth0", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"],
)
def test_link_local_and_metadata_addresses_are_forbidden(address: str) -> None:
    assert is_forbidden(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "2001:db8::1", "64:ff9b::a00:1", "registry.test", "169.253.0.1"])
def test_other_addresses_are_not(address: str) -> None:
    assert not is_forbidden(address)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://H.io/x", Origin("https", "h.io", 443)), ("http://h.io", Origin("http", "h.io", 80)),
        ("https://h.io:5000/?q", Origin("https", "h.io", 5000)), ("https://[::1]:5000/", Origin("https", "::1", 5000)),
    ],
)  # fmt: skip
def test_an_address_has_an_origin(url: str, origin: Origin) -> None:
    assert parse_url(url) == origin


@pytest.mark.parametrize(
    "url",
    ["", "h.io", "//h.io", "ftp://h.io", "https://", "https://u@h.io", "https://h.io:0", "https://h.io:x",
     "https://h\t.io", "https://a\\@h.io", "https://[::1", "https://::1]", "https://::1", "https://a[::1]", "https://[::1]a", "https://[h.io]",
     "https://[127.0.0.1]", "https://[fe80::1%a]b]", "https://[fe80::1%a][::1]", "https://h.io:65536", "https://h.io:-1", "https://h.io:\uff11",
     "https:h.io", "https:/h.io", "https:///h.io"],
)  # fmt: skip
def test_what_has_no_clear_origin_is_refused(url: str) -> None:
    with pytest.raises(RegistryError):
        parse_url(url)


def test_a_redacted_address_has_no_secret() -> None:
    assert redact("https://user:canary@h.io/path?token=canary#canary") == "https://h.io/path"
