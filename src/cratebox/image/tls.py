"""TLS: whose certificates count, and what its failures mean. Whether a server speaks it: greeting.py."""

from __future__ import annotations

import os
import ssl

from cratebox.errors import RegistryError
from cratebox.image.origin import Origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.settings import Settings

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


def may_be_unverified(host: str, settings: Settings) -> bool:
    """Tell whether the user has said that nobody need vouch for the registry `host` (HOST[:PORT])."""
    return host.lower() in settings.insecure


def context(origin: Origin, own: bool, host: str, owned: tuple[Origin, ...], settings: Settings) -> ssl.SSLContext:
    """Return how TLS is spoken with `origin`, on behalf of the registry `host`, HOST[:PORT] as the user wrote it.

    `owned` are the origins that the user named, `own` tells whether this is one of them. Raises RegistryError.
    """
    made = ssl.create_default_context()
    if own and may_be_unverified(host, settings):
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if settings.access.certificates:
        load_certificates(made, settings.access.certificates, identity=own)
        return made
    # As with Docker, an authority trusted for a registry is trusted for its token server and its blob store too.
    for name in dict.fromkeys((host, *(each.authority for each in owned), origin.authority)):
        for directory in settings.certificates:
            load_certificates(made, f"{directory}/{name}", identity=own)
    return made


def is_plain(cause: ssl.SSLError | None, error: Exception) -> bool:
    """A server that speaks plain HTTP answers a TLS greeting with text, or hangs up."""
    if cause is not None:
        return cause.reason in _NO_TLS or isinstance(cause, ssl.SSLEOFError)
    import urllib3  # by whom the error was raised

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
