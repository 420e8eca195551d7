"""TLS: whose certificates count, whether a server speaks it, and what its failures mean."""

from __future__ import annotations

import os
import socket
import ssl

import urllib3

from cratebox.errors import RegistryError
from cratebox.image.origin import Origin

_TIMEOUT = 10.0  # seconds
# What OpenSSL says of an answer that is no TLS.
_NO_TLS = (
    "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG",
)  # fmt: skip


def load_certificates(context: ssl.SSLContext, directory: str, identity: bool) -> None:
    """Take *.crt as authorities and, where `identity`, *.cert with *.key as our own (docker: certs.d). Raises RegistryError."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        path = f"{directory}/{name}"
        try:
            if name.endswith(".crt"):
                context.load_verify_locations(cafile=path)
            elif name.endswith(".cert") and identity:
                context.load_cert_chain(path, path[: -len(".cert")] + ".key")
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(f"cannot use the certificate {path}: {error.strerror or error}") from None


def speaks_tls(origin: Origin) -> bool | None:
    """Tell whether what listens at `origin`, on this machine, answers a TLS greeting; nothing else is sent. None: it is not clear.

    Reading the system's authorities takes longer than the rest of a small pull: not done for a registry in plain HTTP.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # who it is, the requests that follow will check
    try:
        with (
            socket.create_connection((origin.host, origin.port), _TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=origin.host),
        ):
            return True
    except ssl.SSLError as error:
        return not is_plain(error, error)
    except ConnectionResetError:
        return False
    except ConnectionRefusedError:
        return origin.port != 443  # a name without a port: it may be at port 80
    except OSError:
        return None  # no answer in time, as where many ask at once


def is_plain(cause: ssl.SSLError | None, error: Exception) -> bool:
    """A server that speaks plain HTTP answers a TLS greeting with text, or hangs up."""
    if cause is not None:
        return cause.reason in _NO_TLS or isinstance(cause, ssl.SSLEOFError)
    return isinstance(error, urllib3.exceptions.ProtocolError)


def ssl_cause(error: BaseException) -> ssl.SSLError | None:
    """Return the error of TLS that an error of urllib3 wraps, None where it was no such thing."""
    seen: BaseException | None = error
    for _ in range(5):
        if isinstance(seen, ssl.SSLError):
            return seen
        if seen is None:
            break
        inner = seen.args[0] if seen.args and isinstance(seen.args[0], BaseException) else None
        seen = getattr(seen, "original_error", None) or inner or seen.__cause__ or seen.__context__
    return None
