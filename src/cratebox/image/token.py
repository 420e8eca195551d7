"""The dialogue of registry and token server: what to answer to a 401, and for how long the answer holds.

Formats: the distribution project's "Token Authentication Specification" and "OAuth2 Token Authentication".

    us -> registry       GET /v2/NAME/manifests/TAG
    registry -> us       401, WWW-Authenticate: Bearer realm="https://auth/token",service="registry"
    us -> realm          GET ?service=registry&scope=repository:NAME:pull   (Basic, where we have a credential; a scope or more)
    realm -> us          {"token": "...", "expires_in": 300}
    us -> registry       the request again, with Authorization: Bearer ...
"""

from __future__ import annotations

import time

from cratebox import jsontext
from cratebox.errors import RegistryError
from cratebox.image import asking, auth
from cratebox.image.origin import Origin, is_loopback, parse_url, redact
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.asking import Asker, Reply
    from cratebox.image.auth import Challenge, Credential
    from cratebox.image.reference import Reference

_MAX_ANSWER = 1 << 20
_MAX_TOKEN = 1 << 16
_LEAST_LIFE = 60.0  # seconds: what a token without expires_in lives, by the specification
_MARGIN = 10.0  # seconds before its end that a token is renewed


class Authorizer:
    """Keeps the Authorization for what is done in one registry: `scopes`,
    of which the first is needed and the others are wished.

    `given` is tried before what was saved for `reference`, in `authfile` where that is named.
    """

    def __init__(
        self,
        fetcher: Asker,
        reference: Reference,
        scopes: tuple[str, ...] = (),
        given: Credential | None = None,
        authfile: str = "",
    ) -> None:
        self._fetcher, self._reference, self._scopes = fetcher, reference, scopes
        self._authfile = authfile
        self._given = given
        self._found: auth.Found | None = None
        self._header: str | None = None
        self._challenge: Challenge | None = None
        self._ends = float("inf")

    def header(self, registry: Origin) -> str | None:
        """Return the Authorization to send to `registry`, None before it has asked; a token near its end is renewed."""
        if self._challenge is not None and time.monotonic() > self._ends:
            self._header = self._bearer(self._challenge, registry)
        return self._header

    def answer(self, reply: Reply, registry: Origin) -> bool:
        """Take the challenge of a 401 reply; return whether there is something new to try. Raises RegistryError."""
        challenges = {each.scheme: each for each in auth.parse_challenges(reply.header("WWW-Authenticate") or "")}
        if "bearer" in challenges:
            self._challenge = challenges["bearer"]
            self._header = self._bearer(self._challenge, registry)
            return True
        credential = self.credential
        if "basic" in challenges and credential is not None and credential.username:
            before, self._header = self._header, credential.basic
            return self._header != before
        return False

    @property
    def credential(self) -> Credential | None:
        """The credential that was saved by us or other tools; the files are read only when a registry has asked."""
        if self._found is None:
            self._found = auth.Found(self._given) if self._given else auth.find(self._reference, self._authfile)
        return self._found.credential

    @property
    def hint(self) -> str:
        """What a person may do about a refusal."""
        if self._given is not None:
            return "check the user name and the password; some registries want a token of yours instead of the password"
        if self.credential is not None:
            return f"the credential was taken from {self.credential.where}: it may be outdated, or lack the right to do this"
        notes = "".join(f"; {note}" for note in (self._found.notes if self._found else ()))
        files = ", ".join(auth.files(self._authfile))
        return f"check the name, or log in: crate login {self._reference.registry} (credentials are read from {files}){notes}"

    def _bearer(self, challenge: Challenge, registry: Origin) -> str:
        realm = challenge.parameters.get("realm", "")
        self._check_realm(realm, registry)
        reply = self._ask(realm, challenge.parameters.get("service", ""))
        if reply.status in (401, 403) and len(self._scopes) > 1:  # some refuse all where one thing is too much
            reply.drain()
            self._scopes = self._scopes[:1]
            reply = self._ask(realm, challenge.parameters.get("service", ""))
        body = reply.body(_MAX_ANSWER)
        if reply.status in (401, 403) and self.credential is not None:
            raise RegistryError(
                f"{reply.described}: {reply.status}: the user name or password for {registry.authority} was refused", self.hint
            )
        if reply.status != 200:
            raise RegistryError(f"{reply.described}: the token server answered {reply.status}", self.hint)
        return "Bearer " + self._token(body, reply)

    def _check_realm(self, realm: str, registry: Origin) -> None:
        """The realm gets our password, so it is asked over https, save where the registry itself is not."""
        origin = parse_url(realm, f"the realm that {registry.authority} names")
        if origin.scheme == "http" and not (
            registry.scheme == "http" or (is_loopback(registry.host) and is_loopback(origin.host))
        ):
            raise RegistryError(
                f"{registry.authority} wants its password sent over plain http, to {redact(realm)}; that is refused"
            )
        if origin != registry:
            asking.check_target(origin, Origin(scheme=origin.scheme, host=registry.host, port=registry.port))

    def _ask(self, realm: str, service: str) -> Reply:
        from urllib.parse import urlencode

        wanted = [("service", service)] if service else []
        credential = self.credential
        if credential is not None and credential.identity_token:
            grant = [("grant_type", "refresh_token"), ("client_id", "crate"), ("refresh_token", credential.identity_token)]
            form = urlencode([*grant, *wanted, *([("scope", " ".join(self._scopes))] if self._scopes else [])])
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._fetcher.request("POST", realm, headers, body=form.encode())
        realm = realm.partition("#")[0]
        wanted += [("scope", scope) for scope in self._scopes]
        url = realm + ("&" if "?" in realm else "?") + urlencode(wanted) if wanted else realm
        basic = credential.basic if credential is not None else None
        return self._fetcher.request("GET", url, {"Accept": "application/json"}, authorization=basic)

    def _token(self, body: bytes, reply: Reply) -> str:
        try:
            answer = jsontext.loads(body)
        except jsontext.JSONError:
            answer = None
        answer = answer if isinstance(answer, dict) else {}
        token = answer.get("token") or answer.get("access_token")
        # It becomes a header: a line break in it would add headers of the server's choice.
        if not isinstance(token, str) or not 0 < len(token) < _MAX_TOKEN or not all("!" <= each <= "~" for each in token):
            raise RegistryError(f"{reply.described}: the answer has no token that can be used ({shown(type(token).__name__)})")
        life = answer.get("expires_in")
        seconds = float(life) if isinstance(life, (int, float)) and 0 < life < 1 << 31 else _LEAST_LIFE
        self._ends = time.monotonic() + max(seconds - _MARGIN, seconds / 2)
        return token
