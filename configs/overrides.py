"""Arguments of Hydra's command line: which group is chosen, which value is changed, and paths of any spelling."""

from collections.abc import Sequence
from contextlib import nullcontext
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf


def readable(argument: str) -> str:
    """An override as it is typed, its value in quotes where Hydra could not read it otherwise.

    Paths with `=`, brackets, `#`, quotes or umlauts then are what they look like. A leading `~` is the home folder:
    behind `KEY=` the shell leaves it as it is.
    """
    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-"):
        return argument
    if value == "~" or value.startswith("~/"):
        value = str(Path(value).expanduser())
    plain, text = f"{key}={value}", quoted(key, value)
    if value == value.strip() and parses(plain):
        return plain
    return text if parses(text) else argument


def quoted(key: str, value: str) -> str:
    """An override whose value is text, whatever it looks like."""
    return f"{key}={QuotedString(value, Quote.double).with_quotes()}"


def parses(override: str) -> bool:
    """Whether Hydra can read an override."""
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def is_choice(override: str) -> bool:
    """Whether an override chooses from a group of configs, such as `data=cifar10` or `+experiment=pic_tiny`."""
    group = override.split("=")[0].lstrip("+~").split("@")[0]
    return bool(group) and files("configs").joinpath(group).is_dir()


def compose_defaults(config_name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The config, not resolved, that a command line chooses, without the values that it changes.

    Raises:
        HydraException: If it chooses what is not there.
    """
    choices = [override for override in overrides if is_choice(override) and not override.startswith("hydra/")]
    inside = GlobalHydra.instance().is_initialized()
    with nullcontext() if inside else initialize_config_module("configs", version_base="1.3"):
        plain = OmegaConf.to_container(compose(config_name, choices))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
