"""What one command says of the registry that it names, beside what is set up: --authfile, --creds, --cert-dir, --tls-verify."""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue, NotFound
from cratebox.image.auth import Credential
from cratebox.record import Record


class Access(Record):
    """`authfile`: credentials are in this file alone. `credential`: who we are, whatever is saved. `certificates`: a directory
    with *.crt, *.cert and *.key for the registry, in place of certs.d. `verify`: True wants TLS and a certificate that holds,
    whatever is set up; False does without both.
    """

    authfile: str = ""
    credential: Credential | None = None
    certificates: str = ""
    verify: bool | None = None

    def check(self) -> Access:
        """Return it. Raises NotFound where a file or a directory is not there: what nobody misses would be passed over."""
        if self.authfile and not os.path.exists(self.authfile):
            raise NotFound(
                f"there is no file of credentials {self.authfile}", f"crate login --authfile {self.authfile} REGISTRY"
            )
        if self.certificates and not os.path.isdir(self.certificates):
            raise NotFound(f"there is no directory of certificates {self.certificates}")
        return self

    def elsewhere(self) -> Access:
        """Return what of it holds for a mirror of the registry: not who we are, and nothing that would make it less safe."""
        return self.replace(credential=None, certificates="", verify=self.verify or None)


def credential(text: str) -> Credential:
    """Return what NAME:PASSWORD says. Raises InvalidValue; the text is in no message."""
    name, colon, password = text.partition(":")
    if not name or not colon or not password or not text.isprintable():
        raise InvalidValue("--creds is NAME:PASSWORD")
    return Credential(username=name, password=password)
