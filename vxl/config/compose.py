"""Composes conf/ and overrides with Hydra into plain dataclasses: `compose`."""

import contextlib
import functools
import pickle
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

from vxl.config.mistakes import translate
from vxl.config.origins import with_recipes_model
from vxl.config.schema import root_schema
from vxl.errors import ConfigError
from vxl.imported import imported_for_good
from vxl.option.files import CONF
from vxl.option.plugins import load_plugins
from vxl.option.read_yaml import read_yaml
from vxl.option.rebuild import rebuild


def compose(name: str, overrides: list[str]) -> Any:
    """The config of `conf/NAME.yaml` with overrides as on the command line, as checked dataclasses.

    Raises:
        ConfigError: Anything the command line would refuse.
    """
    overrides = with_plugins(with_recipes_model([quoted(word) for word in overrides]))
    for word in overrides:
        if word.lstrip("+").startswith("sweep="):
            raise ConfigError(f"{word} asks for several runs; only python train.py does that.")
    with translated(name, overrides):
        composed = compose_yaml(name, overrides)
    return checked(composed, name)


@contextlib.contextmanager
def translated(name: str, overrides: list[str]) -> Generator[None]:
    """Raises what Hydra and OmegaConf raise inside as a ConfigError in vxl's words."""
    from hydra.errors import HydraException  # late: Hydra, for composing alone
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise translate(error, functools.partial(compose_yaml, name), overrides, name) from error


def checked(composed: Any, name: str) -> Any:
    """An OmegaConf config as the dataclasses of schema `name`, after all the rules of vxl.config.check."""
    config = typed(composed, name)
    if name == "train":
        from vxl.config.check import check_config  # late: torch takes 2 s, and a wrong key is found without

        check_config(config)
    return config


def typed(composed: Any, name: str) -> Any:
    """An OmegaConf config as the dataclasses of schema `name`: keys and types, but no rules that span keys.

    Raises:
        ConfigError: A key is unknown or missing, or a value has the wrong type.
    """
    from omegaconf import OmegaConf  # late: omegaconf, and without a config nothing needs it
    from omegaconf.errors import OmegaConfBaseException

    try:
        values = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    except OmegaConfBaseException as error:
        key, reason = getattr(error, "full_key", None), str(error).partition("\n")[0]
        raise ConfigError(f"{key or 'the config'} can't be resolved: {reason}.") from error
    return rebuild(root_schema(name), values)


def compose_yaml(name: str, overrides: list[str]) -> Any:
    """The OmegaConf config of `conf/NAME.yaml` with overrides, unchecked: the caller's own, to change."""
    return pickle.loads(_composed(name, tuple(overrides)))


@functools.lru_cache(maxsize=128)  # a tenth of a second each, and a sweep asks several times for a member
def _composed(name: str, overrides: tuple[str, ...]) -> bytes:
    from hydra import compose as hydra_compose  # late: Hydra, for composing alone
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from vxl.config.repository import ReadOnce

    GlobalHydra.instance().clear()
    with imported_for_good(), initialize_config_dir(str(CONF), version_base="1.3"):
        loader: Any = GlobalHydra.instance().config_loader()
        loader.repository = ReadOnce(loader.config_search_path, _plain_keys(name))
        return pickle.dumps(hydra_compose(name, list(overrides)))


def _plain_keys(name: str) -> set[str]:
    """Keys of `conf/NAME.yaml` that are given a value there, and so are no groups of options."""
    values = read_yaml((CONF / f"{name}.yaml").read_text())
    return {key for key, value in values.items() if not isinstance(value, dict | list)}


def quoted(word: str) -> str:
    """Names, sbatch's own options and letters beyond ASCII, so that Hydra takes them whole.

    Names and options hold `=` and `,`, and may look like numbers: 2024_05_01 and 1.10 are names. A comma
    alone is a sweep. Hydra reads no letter beyond ASCII outside of quotes.

    Example:
        >>> quoted("data.train=[日本/*.tar,b.tar]")
        "data.train=['日本/*.tar',b.tar]"
    """
    key, _, value = word.partition("=")
    names = ("run", "name", "init_from", "weights")
    if not value or value[0] in "'\"":
        return word
    is_name = key in names and value != "null" and value[0] not in "[{$" and "," not in value
    whole = is_name or ("=" in value and key in (*names, "cluster.sbatch"))
    if whole:
        return f"{key}='{value}'"
    if value.isascii() or set(value) & set("'\"$\\()"):
        return word
    ends = r",\[\]{}" + (":" if "{" in value else "")
    parts = re.sub(rf"[^\s{ends}](?:[^{ends}]*[^\s{ends}])?", _in_quotes, value)
    return f"{key}={parts}"


def _in_quotes(part: re.Match[str]) -> str:
    return part[0] if part[0].isascii() else f"'{part[0]}'"


def with_plugins(overrides: list[str]) -> list[str]:
    """Imports `plugins=[…]`, and adds the override that lets Hydra find their config folders."""
    folders = config_folders(overrides)[1:]
    if not folders or any(word.startswith("hydra.searchpath=") for word in overrides):
        return overrides
    return [*overrides, f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"]


def config_folders(overrides: list[str]) -> list[Path]:
    """The config folders: vxl's, and those of the plug-ins, which are imported."""
    lists = [word.partition("=")[2] for word in overrides if word.lstrip("+").startswith("plugins=")]
    names = [name.strip(" '\"") for name in lists[-1].strip("[]").split(",") if name.strip()] if lists else []
    return [CONF, *load_plugins(names)]
