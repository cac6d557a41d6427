"""conf/ and the code: the same names and keys, every key with a meaning, every shown command composes."""

import dataclasses
import shlex
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.config.test_matrix import NEEDS
from vxl.config.catalog import options_by_group
from vxl.config.compose import compose
from vxl.config.schema import root_schema, schemas
from vxl.config.sweep import plan_sweep
from vxl.option.build import locate
from vxl.option.files import CONF
from vxl.option.schema import meanings, schema_of

FILES = sorted(CONF.glob("*/*.yaml"))
VALUES: dict[Path, dict[str, Any]] = {file: yaml.safe_load(file.read_text()) or {} for file in FILES}
OPTIONS = [file for file in FILES if "_target_" in VALUES[file]]
CHOICES = options_by_group([CONF])
# Groups that are parts: GROUP=NAME is conf/GROUP/NAME.yaml, whose code is in vxl/GROUP/.
PARTS = (
    "video",
    "data",
    "vision",
    "compressor",
    "prune",
    "selector",
    "llm",
    "prefill",
    "kv",
    "relevance",
    "logger",
)
ELSEWHERE = {
    "strategy": "vxl.train.parallel.strategy.",
    "cluster": "vxl.train.",
    "benchmark": "vxl.evaluate.",
}


def name(file: Path) -> str:
    return f"{file.parent.name}={file.stem}"


@pytest.mark.parametrize("file", OPTIONS, ids=name)
def test_an_option_has_exactly_the_keys_of_its_dataclass(file: Path) -> None:
    values, schema = VALUES[file], schema_of(VALUES[file]["_target_"])
    assert values.keys() == {field.name for field in dataclasses.fields(schema) if field.init}
    # A key that hides what a class above it works out would change what that one does.
    hidden = [(base, key) for base in schema.__mro__[1:] for key in values if callable_or_property(base, key)]
    assert hidden == []


def callable_or_property(kind: type, name: str) -> bool:
    found = vars(kind).get(name)
    return callable(found) or isinstance(found, property)


@pytest.mark.parametrize("file", OPTIONS, ids=name)
def test_an_option_stands_where_its_code_is(file: Path) -> None:
    group, target = file.parent.name, VALUES[file]["_target_"]
    assert target.startswith(f"vxl.{group}." if group in PARTS else ELSEWHERE[group])
    assert locate(target)
    schema = typing.get_type_hints(root_schema("evaluate" if group == "benchmark" else "train"))[group]
    assert issubclass(schema_of(target), schema)


def test_every_part_is_a_group_and_a_package() -> None:
    for part in set(PARTS) & CHOICES.keys():
        assert (Path(locate.__code__.co_filename).parents[1] / part / "__init__.py").exists()


@pytest.mark.parametrize(
    ("group", "option"),
    [
        ("trainer", "default"),
        ("checkpoint", "default"),
        ("paths", "default"),
        ("debug", "none"),
        ("optim", "adamw"),
    ],
)
def test_a_group_without_a_target_has_the_keys_of_its_dataclass(group: str, option: str) -> None:
    values = VALUES[CONF / group / f"{option}.yaml"]
    schema: Any = typing.get_type_hints(root_schema("train"))[group]
    assert values.keys() == {field.name for field in dataclasses.fields(schema)}


def test_the_prompt_stands_in_full_in_train_yaml() -> None:
    schema: Any = typing.get_type_hints(root_schema("train"))["prompt"]
    prompt = yaml.safe_load((CONF / "train.yaml").read_text())["prompt"]
    assert prompt.keys() == {field.name for field in dataclasses.fields(schema)}


@pytest.mark.parametrize("file", OPTIONS, ids=name)
def test_of_an_option_with_one_file_the_file_and_the_dataclass_say_the_same(file: Path) -> None:
    values = VALUES[file]
    target = values["_target_"]
    if sum(VALUES[other]["_target_"] == target for other in OPTIONS) > 1:
        return
    for field in dataclasses.fields(schema_of(target)):
        # Where weights come from is what a file is for; the class has random ones.
        if (
            field.default is not dataclasses.MISSING
            and values[field.name] != "???"
            and field.name != "weights"
        ):
            assert values[field.name] == field.default, field.name


def dataclasses_of(schema: type) -> set[type]:
    """A schema and every dataclass inside it."""
    found = {schema}
    for hint in typing.get_type_hints(schema).values():
        for kind in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(kind):
                found |= dataclasses_of(typing.cast(type, kind))
    return found


def test_every_key_has_a_meaning() -> None:
    classes = set().union(*(dataclasses_of(schema) for schema in schemas()))
    classes |= {schema_of(VALUES[file]["_target_"]) for file in OPTIONS}
    # Of a group in the whole config, each option says what it is.
    groups = {key for schema in schemas() for key in typing.get_type_hints(schema)} & CHOICES.keys()
    silent = [
        f"{schema.__name__}.{field.name}"
        for schema in classes
        for field in dataclasses.fields(typing.cast(Any, schema))
        if field.name not in ("_target_", "prompt", *(groups if schema in schemas() else ()))
        and not meanings(schema).get(field.name)
    ]
    assert silent == []


@pytest.mark.parametrize("file", FILES, ids=name)
def test_every_file_begins_with_what_it_is(file: Path) -> None:
    if file.parent.name in ("hydra", "local"):
        return
    assert CHOICES[file.parent.name][file.stem].meaning


COMMANDS = {
    name(choice.path): choice.command
    for options in CHOICES.values()
    for choice in options.values()
    if choice.command
}


def commands() -> Iterator[Any]:
    """Quick: those that say more than their option, which tests/config/test_matrix.py composes; one sweep."""
    for option, command in COMMANDS.items():
        group, words = option.partition("=")[0], shlex.split(command)[2:]
        plain = words == [option] and group not in ("model", "size")
        swept = any("sweep=" in word for word in words) and option != "sweep=vst_ratio"
        yield pytest.param(option, marks=[pytest.mark.slow] * (plain or swept))


@pytest.mark.parametrize("option", commands())
def test_the_command_that_a_file_shows_composes(option: str) -> None:
    words = shlex.split(COMMANDS[option])
    assert words[:2] == ["python", "train.py"]
    if any("sweep=" in word for word in words):
        sweep = plan_sweep(words[2:], False, [CONF])
        assert sweep is not None
        assert len(sweep.members) > 1
    else:
        assert compose("train", words[2:])


@pytest.mark.parametrize("group", ["model", "size", "sweep", "stage", "experiment"])
def test_a_file_that_chooses_shows_its_command(group: str) -> None:
    for option, choice in CHOICES.get(group, {}).items():
        if option != "published":
            assert f"{group}={option}" in choice.command, choice.path


def test_what_options_leave_open_is_what_they_need() -> None:
    # Strategies leave nothing open and need devices all the same.
    open_keys = {
        f"{name(file)} {key}" for file in OPTIONS for key, value in VALUES[file].items() if value == "???"
    }
    needed = {
        f"{option} {word.partition('=')[0].partition('.')[2]}"
        for option, words in NEEDS.items()
        for word in words
    }
    assert open_keys == {key for key in needed if not key.startswith("strategy=")}
