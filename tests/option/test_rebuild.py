"""Strict rebuild: every problem of a config in one error, each with the remedy."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from vxl.errors import ConfigError
from vxl.option.build import build
from vxl.option.option import Option, option
from vxl.option.rebuild import plain, rebuild
from vxl.option.schema import meanings, schema_of


@dataclass(frozen=True, kw_only=True)
class PartConfig(Option):
    """A group's base."""

    ratio: int = 4
    """Patches in / tokens out."""


@dataclass(frozen=True, kw_only=True)
class WideConfig(PartConfig):
    """One option."""

    _target_: str = "tests.option.test_rebuild.Wide"
    mode: Literal["mean", "max"] = "mean"
    """How to pool."""

    def __post_init__(self) -> None:
        if self.ratio < 1:
            raise ConfigError(f"ratio={self.ratio} must be at least 1.")


class Wide:
    def __init__(self, config: WideConfig, *, width: int) -> None:
        self.config, self.width = config, width


@dataclass(frozen=True, kw_only=True)
class Whole:
    part: PartConfig
    lr: float = option(1e-3, resumable=True)
    """Learning rate."""
    limit: int | None = None
    names: list[str] = field(default_factory=list)


@pytest.fixture(autouse=True)
def _allow_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    from vxl.option import build as module

    monkeypatch.setattr(module, "ALLOWED", {"vxl.", "torch.optim.", "tests."})
    schema_of.cache_clear()


def _part(**keys: object) -> dict:
    return {"_target_": "tests.option.test_rebuild.Wide", **keys}


def test_fills_dataclasses_and_builds() -> None:
    whole = rebuild(Whole, {"part": _part(ratio=8), "lr": "1e-5", "limit": None, "names": ["a"]})
    assert whole.part == WideConfig(ratio=8)
    assert whole.lr == 1e-5
    assert build(whole.part, width=3).width == 3
    assert rebuild(Whole, plain(whole)) == whole


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        rebuild(Whole, {"part": _part(raito=8, mode="min"), "lr": "fast", "limti": 3})
    text = str(error.value)
    assert "limti is not a key.\n  did you mean limit?" in text
    assert "part.raito is not a key.\n  did you mean part.ratio?\n  valid keys: ratio, mode" in text
    assert (
        "part.mode=min is none of its values.\n  did you mean part.mode=mean?\n  allowed: mean, max" in text
    )
    assert "lr=fast has the wrong type (text).\n  expected: float\n  e.g.  lr=0.001" in text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"ratio": 0}, "part.ratio=0 must be at least 1."),
        (
            {"ratio": True},
            "part.ratio=true has the wrong type (true or false).\n  expected: int\n  e.g.  part.ratio=4",
        ),
        ({"ratio": 2.5}, "part.ratio=2.5 has the wrong type (float).\n  expected: int\n  e.g.  part.ratio=4"),
    ],
)
def test_wrong_values(value: dict, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        rebuild(Whole, {"part": _part(**value)})
    assert str(error.value) == message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "-inf", "nan", 10**400])
def test_numbers_are_finite(value: object) -> None:
    with pytest.raises(ConfigError, match=r"is no finite number\.\n  expected: float\n  e\.g\.  lr=0\.001"):
        rebuild(Whole, {"part": _part(), "lr": value})


def test_missing_part_and_foreign_target() -> None:
    with pytest.raises(ConfigError, match="part has no value"):
        rebuild(Whole, {})
    with pytest.raises(ConfigError, match="part names no option; choose one: part=NAME"):
        rebuild(Whole, {"part": {}})
    with pytest.raises(ConfigError, match=r"_target_=os.system is not allowed(.|\n)*plugins=\[os\]"):
        rebuild(Whole, {"part": {"_target_": "os.system"}})


def test_torch_optimizers_are_typed_by_their_signature() -> None:
    assert "weight_decay" in schema_of("torch.optim.AdamW").__dataclass_fields__
    with pytest.raises(ConfigError, match="did you mean weight_decay"):
        rebuild(Option, {"_target_": "torch.optim.AdamW", "weigth_decay": 0.1})


def test_meanings_are_the_docstrings_under_the_fields() -> None:
    found = meanings(WideConfig)
    assert found["ratio"] == "Patches in / tokens out."
    assert found["mode"] == "How to pool."
