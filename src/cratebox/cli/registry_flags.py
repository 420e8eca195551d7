"""The flags by which one command says how it speaks with the registry that it names, as Podman has them."""

from __future__ import annotations

from cratebox.cli.options import Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.access import Access

AUTHFILE = Flag("authfile", metavar="PATH", help="the file of credentials, the only one that counts", completes="file")
CERTIFICATES = Flag(
    "cert-dir", metavar="DIR", help="*.crt, *.cert and *.key for the registry, not certs.d", completes="directory"
)
VERIFY = Flag("tls-verify", help="want TLS and a certificate that holds; =false: take any, and plain HTTP")
CREDENTIAL = Flag(
    "creds", metavar="NAME:PASSWORD", help="who to be there; others on this machine can see it: better is crate login"
)
INSECURE = Flag("insecure", help="Docker's word for --tls-verify=false", hidden=True)
FLAGS = (AUTHFILE, CERTIFICATES, CREDENTIAL, VERIFY)


def access(words: Words) -> Access | None:
    """Return what the flags say, None where none was given. Raises InvalidValue."""
    if not any(words.given(flag.name) for flag in (*FLAGS, INSECURE)):
        return None
    from cratebox.image import access as accesses

    def text(flag: Flag) -> str:
        return words.text(flag.name) or "" if words.command.flag(flag.name) else ""

    return accesses.Access(
        authfile=text(AUTHFILE),
        credential=accesses.credential(text(CREDENTIAL)) if text(CREDENTIAL) else None,
        certificates=text(CERTIFICATES),
        verify=_verify(words),
    )


def _verify(words: Words) -> bool | None:
    if words.given(INSECURE.name) and words.yes(INSECURE.name):
        return False
    return words.yes(VERIFY.name) if words.given(VERIFY.name) else None
