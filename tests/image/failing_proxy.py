"""Between a client and a real registry: what passes through is cut, changed, refused or led astray by its faults."""

from __future__ import annotations

from dataclasses import dataclass
from http.client import HTTPConnection

from fake_registry import Answer, FakeRegistry, Seen

_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "date", "server")


@dataclass
class FailingProxy(FakeRegistry):
    """`upstream`: HOST:PORT of the registry, in plain HTTP. It believes to be asked by the proxy's own address."""

    upstream: str = ""

    def answer(self, seen: Seen) -> Answer:
        connection = HTTPConnection(self.upstream, timeout=60)
        try:
            connection.request(seen.method, seen.path, seen.body or None, seen.headers)
            reply = connection.getresponse()
            body = reply.read()
        finally:
            connection.close()
        # The length is said anew with the body, which a fault may change; the answer to a HEAD has none to measure.
        dropped = _HOP_BY_HOP if seen.method == "HEAD" else (*_HOP_BY_HOP, "content-length")
        headers = {key: value for key, value in reply.getheaders() if key.lower() not in dropped}
        return Answer(reply.status, headers, body)
