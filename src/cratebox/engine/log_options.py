"""--log-driver and --log-opt: what they may say (Docker's words), and what that means for a container's log."""

from __future__ import annotations

from cratebox.engine.logs import LogWish
from cratebox.engine.words import boolean, number, shown, size
from cratebox.errors import InvalidValue, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cratebox.engine.records import Container

DRIVERS = ("json-file", "k8s-file", "none")
_FOREIGN = ("awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "journald", "local", "passthrough", "splunk", "syslog")
_OPTIONS = {
    "json-file": ("max-size", "max-file", "labels", "env", "tag", "mode", "compress"),
    "k8s-file": ("max-size", "max-file", "mode"),
    "none": (),
}
_LATER = ("labels-regex", "env-regex", "max-buffer-size", "path", "size")
_TAGS = ("ID", "FullID", "Name", "ImageName", "ImageID", "ImageFullID")


def check_driver(text: str) -> str:
    """Return `text` where it is a log driver. Raises Unsupported for one of Docker's or Podman's, InvalidValue."""
    if text in DRIVERS:
        return text
    hint = "--log-driver json-file (the default), k8s-file or none"
    if text in _FOREIGN:
        raise Unsupported(f"no log driver {text}: crate keeps logs in files alone", hint + "; a log shipper reads those")
    raise InvalidValue(f"no log driver {shown(text)}", hint)


def parse_options(driver: str, texts: Iterable[str]) -> dict[str, str]:
    """Return the options NAME=VALUE of a driver, checked. Raises InvalidValue, Unsupported."""
    options: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise InvalidValue(f"not an option of a log: {shown(text)}", "--log-opt max-size=10m")
        if name in _LATER:
            raise Unsupported(f"--log-opt {name} is not there", f"{driver} takes {', '.join(_OPTIONS[driver]) or 'no options'}")
        if name not in _OPTIONS[driver]:
            raise InvalidValue(
                f"unknown log opt {shown(name)} for the log driver {driver}",
                f"it takes {', '.join(_OPTIONS[driver])}" if _OPTIONS[driver] else "it keeps nothing, and takes no options",
            )
        _check(name, value)
        options[name] = value
    return options


def _check(name: str, value: str) -> None:
    if name == "max-size" and value != "-1" and size(value, "--log-opt max-size") < 1:
        raise InvalidValue("--log-opt max-size is at least a byte", "--log-opt max-size=10m, or -1 for no bound")
    if name == "max-file":
        number(value, "--log-opt max-file", least=1)
    if name == "mode" and value != "blocking":
        if value != "non-blocking":
            raise InvalidValue(f"--log-opt mode is blocking or non-blocking, not {shown(value)}")
        raise Unsupported("--log-opt mode=non-blocking is not there: it loses lines", "crate holds back who writes too fast")
    if name == "compress" and boolean(value, "--log-opt compress"):
        raise Unsupported("--log-opt compress=true is not there", "smaller logs: --log-opt max-size=1m")
    if name == "tag" and "{{" in _tagged(value, dict.fromkeys(_TAGS, "")):
        raise Unsupported(
            f"--log-opt tag={shown(value)}: not all of it is there", f"there are {{{{.{'}}, {{.'.join(_TAGS)}}}}}"
        )


def _tagged(template: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        template = template.replace(f"{{{{.{name}}}}}", value)
    return template


def wish_with_options(container: Container) -> LogWish:
    """Return how the output of a container is to be kept, whose options were checked."""
    options = container.config.log_options
    wish = LogWish(container.config.log_driver)
    if "max-size" in options:
        wish = wish.replace(most=0 if options["max-size"] == "-1" else size(options["max-size"], "max-size"))
    if "max-file" in options:
        wish = wish.replace(files=number(options["max-file"], "max-file", least=1))
    attributes = _attributes(container)
    if attributes:
        from cratebox import jsontext

        wish = wish.replace(attributes=jsontext.dumps(attributes))
    return wish


def _attributes(container: Container) -> dict[str, str]:
    """Return what each line is to say about the container: the labels and variables it has of those that are named,
    and a tag.
    """
    config, defaults = container.config, container.defaults
    labels = {**defaults.labels, **config.labels}
    variables = dict(entry.split("=", 1) for entry in (*defaults.env, *config.env) if "=" in entry)
    found = {name: labels[name] for name in _names(config.log_options, "labels") if name in labels}
    found |= {name: variables[name] for name in _names(config.log_options, "env") if name in variables}
    if config.log_options.get("tag"):
        image_id = container.image_id.removeprefix("sha256:")
        values = (container.id[:12], container.id, container.name, container.image, image_id[:12], image_id)
        found["tag"] = _tagged(config.log_options["tag"], dict(zip(_TAGS, values, strict=True)))
    return found


def _names(options: Mapping[str, str], option: str) -> list[str]:
    return options[option].split(",") if option in options else []
