"""Proxies, as the environment names them: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, in capitals or not."""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue
from cratebox.image.origin import DEFAULT_PORTS, Origin, is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    import urllib3


def proxy_for(origin: Origin) -> str | None:
    """Return the proxy that the environment names for `origin`: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY but for NO_PROXY."""
    name = f"{origin.scheme}_proxy"
    proxy = next((os.environ[key] for key in (name.upper(), name, "ALL_PROXY", "all_proxy") if os.environ.get(key)), None)
    if proxy is None or _is_direct(origin):
        return None
    return proxy if "://" in proxy else "http://" + proxy


def _is_direct(origin: Origin) -> bool:
    """NO_PROXY as Go reads it: names with all below them, addresses, networks in CIDR, each with or without a port; *."""
    if is_loopback(origin.host):
        return True
    for entry in (os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "").lower().split(","):
        entry = entry.strip()
        host, colon, port = entry.rpartition(":")
        if colon and port.isdigit() and (":" not in host or host.endswith("]")):
            if int(port) != origin.port:
                continue
            entry = host
        if entry == "*" or (entry and _covers(entry.strip("[]"), origin.host)):
            return True
    return False


def _covers(entry: str, host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        name = entry.lstrip("*").lstrip(".")
        return bool(name) and (host == name or host.endswith("." + name)) and not (entry.startswith(".") and host == name)


def through_proxy(
    origin: Origin, proxy: str, timeout: urllib3.Timeout, context: ssl.SSLContext | None
) -> urllib3.HTTPConnectionPool:
    """Return connections to `origin` through `proxy`, which may have a user name and password. Raises InvalidValue."""
    import ssl
    from urllib.parse import unquote, urlsplit

    import urllib3

    parts = urlsplit(proxy)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise InvalidValue(f"the proxy for {origin.scheme} is not http://HOST:PORT", "see HTTPS_PROXY and HTTP_PROXY")
    headers = None
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=login)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    manager = urllib3.ProxyManager(
        f"{parts.scheme}://{host}:{parts.port or DEFAULT_PORTS[parts.scheme]}",
        proxy_headers=headers,
        proxy_ssl_context=ssl.create_default_context() if parts.scheme == "https" else None,
        timeout=timeout,
        ssl_context=context,
    )
    return manager.connection_from_host(origin.host, origin.port, scheme=origin.scheme)
