import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vxl.cli.explain import explain
from vxl.config.catalog import options_by_group
from vxl.terminal.screen import Screen

WORDS = [f"{group}={name}" for group, options in options_by_group().items() for name in options]
WORDS.remove("debug=traceback")  # the command's own word, wherever it stands
WORDS += ["kv.keep", "trainer.max_steps", "llm.lora", "optim.lr"]

PLUGIN = """
import torch
from dataclasses import dataclass
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.policy import Scored

HALF = {half}

@dataclass(frozen=True, kw_only=True)
class OldestConfig(ScoredConfig):
    _target_: str = "oldlab.oldest.Oldest"
    share: {kind} = {default}
    '''Of the oldest entries.'''

class Oldest(Scored):
    @torch.no_grad()
    def __init__(self, config: OldestConfig) -> None:
        super().__init__(config)
"""


def explained(words: list[str], code: str = "", **environment: str) -> str:
    """What a fresh process prints, in which nothing has imported torch."""
    script = f"import sys\nfrom vxl.cli.main import main\n{code}\nmain(['explain', *{words}])"
    environment = {**os.environ, "COLUMNS": "100", **environment}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_option_reads_above_stand_ins_as_it_does_above_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # noqa: F401  with it there, nothing stands in

    monkeypatch.setenv("COLUMNS", "100")
    above_torch = io.StringIO()
    explain(WORDS, console=Screen(file=above_torch))
    assert explained(WORDS) == above_torch.getvalue()


def plugin(folder: Path, **values: str) -> dict[str, str]:
    """A package with an option, and the environment in which it is found."""
    (folder / "oldlab" / "conf" / "kv").mkdir(parents=True)
    (folder / "oldlab" / "__init__.py").touch()
    (folder / "oldlab" / "oldest.py").write_text(PLUGIN.format(**values))
    (folder / "oldlab" / "conf" / "kv" / "oldest.yaml").write_text("# Old.\n_target_: oldlab.oldest.Oldest\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_a_plugin_is_read_above_stand_ins_and_forgotten_behind_them(tmp_path: Path) -> None:
    environment = plugin(tmp_path, half="torch.float16", kind="'float | torch.Tensor'", default="0.5")
    again = (
        "main(['explain', 'plugins=[oldlab]', 'kv=oldest'])\n"
        "assert not {'torch', 'oldlab.oldest', 'vxl.kv.policy'} & sys.modules.keys()\n"
        "import torch\nassert torch.zeros(2).sum() == 0\n"
    )
    shown = explained(["plugins=[oldlab]", "kv=oldest"], again, **environment)
    first, _, second = shown.partition("kv=oldest")[2].partition("kv=oldest")
    assert "share = 0.5  float" in first
    assert "Of the oldest entries." in first
    assert "share = 0.5  float or Tensor" in second  # by torch itself: nothing of the stand-ins is left


def test_a_plugin_that_computes_when_it_is_imported_gets_torch(tmp_path: Path) -> None:
    environment = plugin(tmp_path, half="torch.ones(2).sum().item() / 4", kind="float", default="HALF")
    assert "share = 0.5  float" in explained(["plugins=[oldlab]", "kv=oldest"], **environment)
