import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from vxl.cli.explain import explain
from vxl.config.catalog import keys_of, look_up, options_by_group
from vxl.config.schema import schemas
from vxl.errors import ConfigError
from vxl.option.build import ALLOWED
from vxl.option.files import CONF
from vxl.option.option import Option
from vxl.option.words import as_typed, flatten
from vxl.terminal.screen import Screen


@dataclass(frozen=True, kw_only=True)
class PoolConfig(Option):
    """A part."""

    _target_: str = f"{__name__}.Pool"
    ratio: int = 16
    """Patches in / tokens out,
    over two lines."""
    kind: Literal["mean", "max"] = "mean"
    """How."""


class Pool:
    def __init__(self, config: PoolConfig) -> None:
        self.config = config


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    max_steps: int = 100
    """Optimizer steps."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's two."""


@dataclass(frozen=True, kw_only=True)
class RootConfig:
    model: str
    """Which model."""
    compressor: PoolConfig = field(default_factory=PoolConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: int | None = 3
    """Seed of all randomness."""


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "train.yaml": "defaults:\n  - _self_\n  - compressor: pool\n  - trainer: default\n  - model: tiny\n",
        "compressor/pool.yaml": "# Pools patches (a paper).\n"
        f"_target_: {__name__}.Pool\nratio: 4\nkind: mean\n",
        "trainer/default.yaml": "# How long.\nmax_steps: 50\n",
        "model/tiny.yaml": "# @package _global_\n# python train.py model=tiny\n# A model in miniature.\n"
        "defaults:\n  - big\n  - override /compressor: pool\n  - /size/tiny\ncompressor:\n  ratio: 8\n",
        "hydra/default.yaml": "job: {}\n",
        "zoo/own.yaml": "# Not in the defaults list.\nlegs: 4\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("vxl.cli.explain.CONF", tmp_path)
    ALLOWED.add(f"{__name__}.")
    yield tmp_path
    ALLOWED.discard(f"{__name__}.")


def test_groups_stand_in_flow_order_with_their_comments(conf: Path) -> None:
    found = options_by_group([conf])
    assert list(found) == ["compressor", "trainer", "model", "zoo"]
    tiny = found["model"]["tiny"]
    assert (tiny.meaning, tiny.command) == ("A model in miniature.", "python train.py model=tiny")
    assert tiny.overrides == ["model=big", "compressor=pool", "size=tiny"]
    assert tiny.is_global
    assert not found["compressor"]["pool"].is_global


def test_keys_have_type_default_of_the_file_and_meaning(conf: Path) -> None:
    ratio, kind = keys_of(options_by_group([conf])["compressor"]["pool"], RootConfig)
    assert (ratio.name, ratio.type, ratio.default) == ("ratio", "int", "4")
    assert ratio.meaning == "Patches in / tokens out, over two lines."
    assert (kind.type, kind.default) == ("mean | max", "mean")


def test_a_group_without_a_target_is_typed_by_the_whole_config(conf: Path) -> None:
    steps, betas = keys_of(options_by_group([conf])["trainer"]["default"], RootConfig)
    assert (steps.name, steps.default, steps.meaning) == ("max_steps", "50", "Optimizer steps.")
    assert betas.default == "[0.9,0.999]"


def test_a_file_that_chooses_shows_what_it_sets(conf: Path) -> None:
    (key,) = keys_of(options_by_group([conf])["model"]["tiny"], RootConfig)
    assert (key.name, key.default) == ("compressor.ratio", "8")


def test_find_knows_options_groups_and_keys(conf: Path) -> None:
    assert look_up("compressor=pool", [conf], [RootConfig])[0] == "option"
    assert look_up("compressor", [conf], [RootConfig])[0] == "group"
    assert [key.default for key in look_up("seed", [conf], [RootConfig])[1]] == ["3"]
    assert [key.meaning for key in look_up("trainer.max_steps", [conf], [RootConfig])[1]] == [
        "Optimizer steps."
    ]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "compresor=pool",
            "vxl explain compresor=pool: there is no group 'compresor'.\n"
            "  did you mean vxl explain compressor=pool?\n"
            "  there are: compressor, trainer, model, zoo",
        ),
        (
            "compressor=pol",
            "vxl explain compressor=pol: there is no option of compressor 'pol'.\n"
            "  did you mean vxl explain compressor=pool?\n  there are: pool",
        ),
        (
            "compressor.raito",
            "vxl explain compressor.raito: there is no key of compressor 'raito'.\n"
            "  did you mean vxl explain compressor.ratio?\n  there are: ratio, kind",
        ),
        ("sede", "did you mean vxl explain seed"),
    ],
)
def test_what_does_not_exist_names_the_nearest(conf: Path, word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        look_up(word, [conf], [RootConfig])
    assert message in str(caught.value)


def test_printed_text_keeps_brackets(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich reads [words] as colours; in defaults and meanings they are text."""
    (conf / "zoo" / "list.yaml").write_text("# Takes [red] things.\nsizes: [red, blue]\n")
    screen = io.StringIO()
    console = Console(width=120, file=screen)
    explain(["zoo=list", "compressor", "seed"], root=RootConfig, console=console)
    text = screen.getvalue()
    assert "Takes [red] things." in text
    assert "[red,blue]" in text
    assert "Seed of all randomness." in text
    explain([], root=RootConfig, console=console)
    text = screen.getvalue()
    assert "compressor=pool" in text
    assert "Which model." in text


def test_flatten_and_show() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}
    assert [as_typed(value) for value in (None, True, 1e-5, "x", (1, "y"))] == [
        "null",
        "true",
        "1e-05",
        "x",
        "[1,y]",
    ]


def test_own_conf_is_found() -> None:
    assert (CONF / "train.yaml").exists()
    assert "model" in options_by_group()


def test_a_word_that_names_nothing_lists_groups_and_keys_of_the_run_on_one_screen() -> None:
    with pytest.raises(ConfigError) as error:
        explain(["compresor"])
    text = str(error.value)
    assert "did you mean vxl explain compressor" in text
    there = text.partition("there are: ")[2].split(", ")
    assert {"compressor", "seed"} <= set(there)
    assert len(set(there)) == len(there) < 60
    assert "sweep_name" not in there


def test_a_file_that_sets_keys_of_the_run_shows_their_meanings() -> None:
    roots = schemas()
    keys = {key.name: key for key in keys_of(options_by_group()["stage"]["lora"], roots[0])}
    assert keys["llm.lora.rank"].default == "16"
    assert [name for name, key in keys.items() if not key.meaning] == []
    (ratio,) = keys_of(options_by_group()["sweep"]["compression"], roots[0])
    assert (ratio.name, ratio.default, bool(ratio.meaning)) == ("compressor.ratio", "4,16,64", True)


def test_keys_of_evaluation_are_known() -> None:
    assert look_up("max_new_tokens", [CONF])[1][0].meaning


def test_a_group_of_one_schema_shows_its_keys() -> None:
    console = Console(file=io.StringIO(), width=100)
    explain(["trainer"], console=console)
    assert "max_steps = 1000" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(options_by_group()["benchmark"]))
def test_a_benchmark_says_where_its_data_come_from_their_licence_and_what_its_score_is(name: str) -> None:
    option = options_by_group()["benchmark"][name]
    assert [note.partition(":")[0] for note in option.notes] == ["Source", "Licence", "Score"]
    assert not any(note.partition(":")[0] in option.meaning for note in option.notes)


def test_a_foreign_class_is_typed_by_its_signature_and_its_own_rate_is_not_offered() -> None:
    keys = {key.name: key for key in keys_of(options_by_group([CONF])["optim"]["adamw"], schemas()[0])}
    assert keys["optimizer.fused"].type == "true or false or null"
    assert keys["optimizer.betas"].type == "list of float"
    assert keys["optimizer.weight_decay"].default == "0.0"
    assert "optimizer.lr" not in keys  # refused: every part has its own rate


def test_a_key_shows_what_all_files_of_its_group_set_and_who_sets_another() -> None:
    kind, (key,) = look_up("optim.lr", [CONF])
    assert (kind, key.default) == ("keys", "${stage.lr}")
    assert key.meaning.endswith("Set by size=tiny (0.0005).")


def test_only_the_class_of_a_key_that_is_shown_is_read_for_its_meaning(monkeypatch) -> None:
    read: list[str] = []

    def noted(schema: type) -> dict[str, str]:
        read.append(schema.__name__)
        return {"keep": "How many."}

    monkeypatch.setattr("vxl.config.catalog.meanings", noted)
    _, keys = look_up("kv.keep", [CONF])
    assert read == []
    assert {key.meaning for key in keys} == {"How many."}
    assert len(read) == len(keys)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_key_that_is_the_same_in_many_options_is_explained_once(width: int) -> None:
    console = Screen(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    explain(["kv.keep"], console=console)
    explain(["stage=lora"], console=console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("kv=") for line in lines) == 4
    assert "The same in bilevel, criticalkv, " in " ".join(line.strip() for line in lines)
    (types,) = [line for line in lines if "list of vision |" in line]
    assert types.startswith("    " if width < 100 else "stage.train = ")
    assert types.rstrip().endswith("llm")
