"""Hydra's place in vxl: the command line becomes plain dataclasses here, and nowhere else.

`command_line` makes an entry point of a function that takes a checked config; `compose` gives code the same.
"""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from vxl.atomic import why_not
from vxl.config import recipe
from vxl.errors import ConfigError, VxlError
from vxl.option.files import CONF
from vxl.option.plugins import load_plugins
from vxl.option.rebuild import rebuild
from vxl.run.code import refuse_changed


def command_line(name: str) -> Callable[[Callable[[Any, str], None]], Callable[[], None]]:
    """Decorates `main(config, composed)` so that it can be called as a script.

    `main` gets the config as dataclasses, checked, and the composed YAML text. A user's errors are printed on
    one screen (exit status 2); a sweep runs all its members, ends with a table of them, and exits with 1 if
    any failed.

    Args:
        name: Config file in conf/ without its ending; its schema is vxl.config.schema.SCHEMAS[name].
    """

    def decorate(main: Callable[[Any, str], None]) -> Callable[[], None]:
        @functools.wraps(main)
        def script() -> None:
            sys.exit(_run(name, main))

        return script

    return decorate


def compose(name: str, overrides: list[str]) -> Any:
    """The config of `conf/NAME.yaml` with overrides as on the command line, as checked dataclasses.

    Raises:
        ConfigError: Anything the command line would refuse.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    overrides = [_quoted(word) for word in overrides + _search_path(overrides)]
    for word in overrides:
        if word.lstrip("+").startswith("sweep="):
            raise ConfigError(f"{word} asks for several runs; only python train.py does that.")
    try:
        composed = _compose(name, overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        from vxl.config.mistakes import translate

        raise translate(error, functools.partial(_compose, name), overrides, name) from error
    return checked(composed, name)


def checked(composed: Any, name: str) -> Any:
    """An OmegaConf config as the dataclasses of schema `name`, after all the rules of vxl.config.check."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from vxl.config.check import check
    from vxl.config.schema import SCHEMAS

    try:
        values = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    except OmegaConfBaseException as error:
        key, reason = getattr(error, "full_key", None), str(error).partition("\n")[0]
        raise ConfigError(f"{key or 'the config'} can't be resolved: {reason}.") from error
    config = rebuild(SCHEMAS[name], values)
    check(config)
    return config


def _compose(name: str, overrides: list[str]) -> Any:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    before = GlobalHydra.instance().hydra if GlobalHydra.instance().is_initialized() else None
    if before is not None:
        GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra_compose(name, overrides)
    finally:
        if before is not None:  # called from inside a job: give it its own Hydra back
            GlobalHydra.instance().clear()
            GlobalHydra.instance().initialize(before)


def _run(name: str, main: Callable[[Any, str], None]) -> int:
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from vxl.config import sweep

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us as they are, and we print them
    arguments = [_quoted(word) for word in sys.argv[1:]]
    want_traceback = "debug=traceback" in arguments
    members: list[sweep.Member] = []
    failure: list[BaseException] = []
    away: list[bool] = []
    submitted = bool(os.environ.get("VXL_SUBMITTED"))

    def job(composed: Any) -> None:
        """One run: the only one of the command, or one member of a sweep."""
        member = sweep.Member.of(composed)
        try:
            text = OmegaConf.to_yaml(composed, sort_keys=False)
            config = checked(composed, name)
            if name == "train" and not sweep.is_here(composed):
                away.append(True)
                return
            if submitted:
                _refuse_other_code(config)
            if getattr(config, "recipe", None) is None:
                main(config, text)
            else:
                _run_recipe(config, name, main)
        except Exception as error:  # kept, shown and counted below; the other members go on
            if member is not None and submitted:
                member.fail(error)
            if member is None or submitted:
                failure.append(error)
                return
            member.fail(error)
            if not isinstance(error, VxlError) or want_traceback:
                traceback.print_exc()
        if member is not None and not submitted:
            members.append(member)

    try:
        arguments += _search_path(arguments)
        check = functools.partial(checked, name=name)
        arguments = sweep.prepare(arguments, functools.partial(_compose, name), check, _folders(arguments))
        sys.argv[1:] = arguments
        if name == "train" and "--multirun" in arguments:
            each = sweep.expand(arguments, _folders(arguments))
            if not sweep.is_here(_compose(name, each[0])):
                return _hand_over(each, functools.partial(_compose, name))
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
        if away:
            return _hand_over([arguments], functools.partial(_compose, name))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        from vxl.config.mistakes import translate

        message = translate(error, functools.partial(_compose, name), arguments, name)
        return _show(message, error, want_traceback)
    except OSError as error:  # of Hydra, which makes the folder of a sweep; those of jobs are kept above
        message = ConfigError(f"{error.filename} can't be written: {why_not(error)}")
        return _show(message, error, want_traceback)
    except VxlError as error:
        return _show(error, error, want_traceback)
    if members:
        return sweep.report(members)
    for error in failure:
        if not isinstance(error, VxlError):
            raise error
        return _show(error, error, want_traceback)
    return 0


def _hand_over(members: list[list[str]], compose: Callable[[list[str]], Any]) -> int:
    """Gives the runs of this command to the cluster that their config names."""
    from omegaconf import OmegaConf

    from vxl.config import sweep
    from vxl.train.launch.dispatch import dispatch

    def failed(words: list[str], error: VxlError) -> None:
        member = sweep.Member.of(compose(words))
        if member is not None:
            member.fail(error)

    return dispatch(
        members,
        compose=lambda words: checked(compose(words), "train"),
        composed=lambda words: OmegaConf.to_yaml(compose(words), sort_keys=False),
        script=Path(sys.argv[0]),
        failed=failed,
    )


def _refuse_other_code(config: Any) -> None:
    """Compares code and configs with those that were there when a cluster was given this run."""
    from vxl.train.launch.cluster import ANY_CODE, SUBMITTED

    record = os.environ[SUBMITTED]
    if record != ANY_CODE:
        refuse_changed(Path(record), config.plugins)


def _run_recipe(config: Any, name: str, main: Callable[[Any, str], None]) -> None:
    """Runs a recipe's stages one after the other; finished ones say so."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    words = list(HydraConfig.get().overrides.task)
    stages = list(recipe.expand(config, words, functools.partial(_compose, name)))
    ready = [checked(composed, name) for composed in stages]  # a mistake in a late stage is met at once
    for number, (stage, composed) in enumerate(zip(ready, stages, strict=True), 1):
        print(f"recipe: stage {number} of {len(ready)}, {stage.name}", flush=True)
        main(stage, OmegaConf.to_yaml(composed, sort_keys=False))


def _quoted(word: str) -> str:
    """A run's name or sbatch's own options, so that Hydra takes them whole: they hold `=` and `,`."""
    key, _, value = word.partition("=")
    names = ("run", "name", "init_from", "weights", "cluster.sbatch")
    whole = key in names and "=" in value and value[0] not in "'\""
    return f"{key}='{value}'" if whole else word


def _search_path(overrides: list[str]) -> list[str]:
    """Imports `plugins=[…]` and returns the override that lets Hydra find their config folders."""
    folders = _folders(overrides)[1:]
    if not folders or any(o.startswith("hydra.searchpath=") for o in overrides):
        return []
    return [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"]


def _folders(overrides: list[str]) -> list[Path]:
    """The config folders: vxl's, and those of the plug-ins, which are imported."""
    given = [o.partition("=")[2] for o in overrides if o.lstrip("+").startswith("plugins=")]
    names = [name.strip(" '\"") for name in given[-1].strip("[]").split(",") if name.strip()] if given else []
    return [CONF, *load_plugins(names)]


def _show(message: VxlError, error: BaseException, want_traceback: bool) -> int:
    if want_traceback:
        traceback.print_exception(error)
    kind = {"ConfigError": "config ", "DataError": "data ", "CheckpointError": "checkpoint "}
    print(f"\n{kind.get(type(message).__name__, '')}error: {message}", file=sys.stderr)
    return message.status
