"""Which words a person types, and which module of cli/commands does what they say. Help and completion are made from it.

A new verb is a line here: in HEADINGS where it is typed alone (`crate run`; its module has its name), in GROUPS where two
words are (`crate system df`): the second word, the module, and flags that are meant with it. Docker's longer names
(`crate container run`) come by themselves.
"""

from __future__ import annotations

CONTAINERS = (
    "run", "create", "start", "stop", "restart", "kill", "pause", "unpause", "wait", "update", "rename", "exec", "attach", "ps", "top",
    "stats", "port", "cp", "logs", "inspect", "rm", "diff", "export", "commit",
)  # fmt: skip
IMAGES = (
    "pull", "images", "history", "search", "rmi",
    "tag", "push", "login", "logout",
    "save", "load", "import",
)  # fmt: skip
ITSELF = ("events", "info", "version", "completion")
HEADINGS = {"Containers": CONTAINERS, "Images": IMAGES, "crate itself": ITSELF}
VERBS = (*CONTAINERS, *IMAGES, *ITSELF)

GROUPS = {
    "container": {
        **{verb: verb for verb in CONTAINERS},
        "ls": "ps",
        "list": "ps",
        "prune": "container_prune",
        "inspect": "inspect --type=container",
    },
    "image": {
        "ls": "images",
        "list": "images",
        "rm": "rmi",
        "remove": "rmi",
        "prune": "image_prune",
        "pull": "pull",
        "tag": "tag",
        "push": "push",
        "save": "save",
        "load": "load",
        "import": "import",
        "inspect": "inspect --type=image",
        "history": "history",
        "search": "search",
        "tree": "image_tree",
        "diff": "image_diff",
        "exists": "image_exists",
        "mount": "image_mount",
        "unmount": "image_unmount",
        "umount": "image_unmount",
    },
    "manifest": {
        "create": "manifest_create",
        "add": "manifest_add",
        "annotate": "manifest_annotate",
        "inspect": "manifest_inspect",
        "exists": "manifest_exists",
        "ls": "manifest_ls",
        "list": "manifest_ls",
        "push": "manifest_push",
        "remove": "manifest_remove",
        "rm": "manifest_rm",
    },
    "artifact": {
        "push": "artifact_push",
        "pull": "artifact_pull",
        "ls": "artifact_ls",
        "list": "artifact_ls",
        "inspect": "artifact_inspect",
        "rm": "artifact_rm",
        "remove": "artifact_rm",
    },
    "network": {
        "connect": "network_connect",
        "create": "network_create",
        "disconnect": "network_disconnect",
        "inspect": "network_inspect",
        "ls": "network_ls",
        "list": "network_ls",
        "prune": "network_prune",
        "rm": "network_rm",
        "remove": "network_rm",
    },
    "system": {
        "check": "system_check",
        "df": "system_df",
        "events": "events",
        "info": "info",
        "prune": "system_prune",
        "start": "system_start",
        "stop": "system_stop",
    },
    "healthcheck": {"run": "healthcheck_run"},
    "generate": {"systemd": "generate_systemd"},
    "secret": {
        "create": "secret_create",
        "ls": "secret_ls",
        "list": "secret_ls",
        "inspect": "secret_inspect",
        "rm": "secret_rm",
        "remove": "secret_rm",
    },
    "volume": {
        "create": "volume_create",
        "ls": "volume_ls",
        "list": "volume_ls",
        "inspect": "volume_inspect",
        "rm": "volume_rm",
        "remove": "volume_rm",
        "prune": "volume_prune",
        "export": "volume_export",
        "import": "volume_import",
    },
}
ABOUT = {
    "container": "commands for containers, by Docker's longer names",
    "image": "commands for images, by Docker's longer names",
    "manifest": "lists of manifests: one name for the images of several platforms",
    "artifact": "files in registries that are no images",
    "network": "by what containers reach each other, and the world",
    "system": "commands for crate and all that it keeps",
    "healthcheck": "commands for the health of containers",
    "generate": "files for other programs, made from containers",
    "secret": "what containers may read and nobody else",
    "volume": "directories that outlive containers",
}

# What Docker and Podman have and crate does not: answered as such, and not as a word that nobody knows. One word is meant alone
# and after `container` or `image`.
LATER = ("build", "compose")


def resolve(words: list[str]) -> tuple[str, str, list[str], list[str]] | None:
    """Return (what was typed as the verb, its module, flags that are meant, what follows) for the words of a command line.

    The module is empty where the help of a group is wanted. None where there is no such verb.
    """
    verb, *rest = words
    if verb in VERBS:
        return verb, verb, [], rest
    if not GROUPS.get(verb):
        return None
    if not rest or rest[0] in ("--help", "-h", "help"):
        return verb, "", [], []
    inner, *rest = rest
    if inner not in GROUPS[verb]:
        return None
    module, *meant = GROUPS[verb][inner].split()
    return f"{verb} {inner}", module, meant, rest


def groups() -> dict[str, dict[str, str]]:
    """Return the groups that have a verb: (second word -> module)."""
    return {group: {verb: words.split()[0] for verb, words in verbs.items()} for group, verbs in GROUPS.items() if verbs}
