"""The examples in vxl's docstrings do what they say."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def modules_with_examples() -> list[str]:
    """Modules whose source has a doctest, by name; the others need not be imported."""
    files = [file for file in sorted((ROOT / "vxl").rglob("*.py")) if ">>> " in file.read_text()]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    torch.manual_seed(0)
    result = doctest.testmod(module, extraglobs={"torch": torch}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


def test_each_contract_has_an_example() -> None:
    """Parts, a policy, a benchmark and a source of one's own are written down where the room is described; a
    change of a run's config where it is read."""
    rooms = {"compressor", "prune", "selector", "relevance", "kv", "evaluate", "data.source"}
    assert {*(f"vxl.{room}" for room in rooms), "vxl.checkpoint.resolved"} <= set(modules_with_examples())
