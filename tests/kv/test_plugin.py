"""A policy from a package of one's own: found, typed, explained, and held to the same budget."""

import sys
from pathlib import Path

import pytest
import torch

from tests.kv.test_policies import read, watched
from tests.small_model import model
from vxl.errors import ConfigError
from vxl.kv.policy import PolicyConfig
from vxl.option.build import ALLOWED
from vxl.option.rebuild import rebuild

CODE = '''
"""The oldest entries stay."""

from dataclasses import dataclass

from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.policy import Scored


@dataclass(frozen=True, kw_only=True)
class OldestConfig(ScoredConfig):
    """The oldest entries stay."""

    _target_: str = "oldlab.oldest.Oldest"
    bias: float = 0.0
    """Added to every score."""


class Oldest(Scored):
    """Score: minus the column that an entry was fed as."""

    per_head = False

    def __init__(self, config: OldestConfig) -> None:
        super().__init__(config)
        self.bias = config.bias

    def score(self, entries):
        return self.bias - entries.index_BNS.double()
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "oldlab"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "oldest.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("vxl.option.build.ALLOWED", ALLOWED | {"oldlab."})
    yield
    for name in ("oldlab", "oldlab.oldest"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("package")
def test_a_policy_of_ones_own_needs_a_score_and_nothing_else() -> None:
    values = {"_target_": "oldlab.oldest.Oldest", "keep": None, "tokens": 40, "bias": 1.0}
    settings = rebuild(PolicyConfig, values, "kv")
    context = watched(model(kv=settings))
    assert context.tokens > 40
    cache = read(context, [5, 6])
    held = cache.index()[0, 0][cache.valid()[0, 0]].tolist()
    text = 22
    assert len(held) == 40 + 2
    kinds = torch.cat([layout.kind_BT for layout in context.cache.layouts], dim=1)[0]
    visual = [column for column in held if column < len(kinds) and int(kinds[column]) == 2]
    assert visual == (kinds == 2).nonzero()[: 40 - text, 0].tolist()


@pytest.mark.usefixtures("package")
def test_its_keys_are_typed() -> None:
    with pytest.raises(ConfigError, match=r"kv\.bais"):
        rebuild(PolicyConfig, {"_target_": "oldlab.oldest.Oldest", "bais": 1.0}, "kv")
