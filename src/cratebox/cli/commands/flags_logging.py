"""The flags that say where a container's output is kept."""

from __future__ import annotations

from cratebox.cli.options import Flag, Words
from cratebox.engine.config import ContainerConfig
from cratebox.engine.log_options import DRIVERS, check_driver, parse_options

LOGGING = "Logging"

FLAGS = (
    Flag("log-driver", metavar="|".join(DRIVERS), help="how output is kept for `crate logs`", default="json-file",
         group=LOGGING),
    Flag("log-opt", metavar="NAME=VALUE", help="max-size=10m, max-file=3; json-file: labels=, env=, tag=", repeat=True,
         group=LOGGING),
)  # fmt: skip


def wished(words: Words, config: ContainerConfig) -> ContainerConfig:
    """Return the config with what the flags say. Raises InvalidValue, Unsupported."""
    driver = check_driver(words.text("log-driver") or "json-file")
    return config.replace(log_driver=driver, log_options=parse_options(driver, words.all("log-opt")))
