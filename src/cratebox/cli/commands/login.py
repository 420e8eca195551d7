"""crate login: show a registry who we are, and keep that."""

from __future__ import annotations

import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import AUTHFILE, CERTIFICATES, VERIFY, access
from cratebox.cli.render import line
from cratebox.errors import InvalidValue, NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.images import Images

_MOST = 1 << 16  # bytes of a password

COMMAND = Command(
    name="login",
    arguments="[REGISTRY]",
    summary="Log in to a registry",
    flags=(
        Flag("username", "u", "NAME", "who to be there"),
        Flag("password", "p", "PASSWORD", "the password; others on this machine can see it: better is --password-stdin"),
        Flag("password-stdin", help="read the password from standard input"),
        Flag("get-login", help="print the user's name that is kept for the registry; nobody is asked"),
        Flag("verbose", "v", help="print where the credential went"),
        AUTHFILE.replace(help="keep it in this file alone"),
        CERTIFICATES,
        VERIFY,
    ),
    least=0,
    most=1,
    description="""Ask REGISTRY (Docker Hub without one) whether it lets this user in, and keep the credential for pulls and
pushes. A place in a registry (quay.io/team) has a credential of its own. What is not given is asked for; with a credential that
is kept already, that one is tried first.

It is kept where other tools find it too: in the first of these files that has something for the registry, else in the last; or
by the helper that the file names for it (credHelpers, credsStore). $REGISTRY_AUTH_FILE, where it is set, is the only one:

  $XDG_RUNTIME_DIR/containers/auth.json, $XDG_CONFIG_HOME/containers/auth.json, $DOCKER_CONFIG/config.json (~/.docker)

A registry that lets everybody in without asking checks nothing: the credential is kept and that is said.

Without a helper a file has the password in a form that hides nothing; only its owner can read it.""",
    examples=(
        ("crate login", "to Docker Hub"),
        ("crate login -u alice --password-stdin registry.lan:5000 < secret", "in a script"),
    ),
    exit_codes=(("0", "the registry lets this user in, or everybody"), ("125", "it does not; nothing is kept")),
)


def main(words: Words) -> int:
    """Ask for what is missing, ask the registry, and keep it."""
    server = words.arguments[0] if words.arguments else "docker.io"
    images = open_engine(words, access(words)).images
    if words.yes("get-login"):
        line(images.logged_in(server))
        return 0
    username, password = words.text("username"), _given_password(words)
    if username is None and password is None and _is_known(images, server):
        line("Login Succeeded")
        return 0
    if username is None:
        username = _asked(f"Username for {server}: ", secret=False)
    if password is None:
        password = _asked("Password: ", secret=True)
    saved = images.login(server, username, password)
    if not saved.helper:
        sys.stderr.write(
            f"WARNING! The password is stored unencrypted in {saved.where}: a credential helper would keep it better.\n"
        )
    if words.yes("verbose"):
        line(f"Used: {saved.where}")
    line("Login Succeeded" if saved.checked else f"Login kept, not checked: {server} lets everybody in without asking")
    return 0


def _given_password(words: Words) -> str | None:
    password = words.text("password")
    if not words.yes("password-stdin"):
        if password is not None:
            sys.stderr.write("WARNING! --password can be seen by others on this machine. Use --password-stdin.\n")
        return password
    if password is not None:
        raise words.wrong("--password and --password-stdin exclude each other")
    if words.text("username") is None:
        raise words.wrong("--password-stdin wants --username as well")
    raw = sys.stdin.buffer.read(_MOST + 1)
    try:
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidValue("the password from standard input is no text") from None


def _is_known(images: Images, server: str) -> bool:
    try:
        username = images.check_login(server)
    except NotFound:
        return False
    sys.stderr.write(f"Authenticated with the credential that is kept{f' for {username}' if username else ''}\n")
    return True


def _asked(prompt: str, *, secret: bool) -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for a user name and a password at",
            "crate login --username NAME --password-stdin < FILE",
        )
    if secret:
        from getpass import getpass

        return getpass(prompt)
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().strip()
