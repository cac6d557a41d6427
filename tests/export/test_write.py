import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkpoint.published.folders import config_json, publish, weights
from tests.run_directories import make_run
from tests.small_model import settings
from tests.test_floors import ROOT
from vxl.cli.main import main
from vxl.data.batch.prompt import PromptConfig
from vxl.errors import CheckpointError, ConfigError
from vxl.export import write
from vxl.export.write import LEFT_BEHIND, export_transformers, portable
from vxl.kv.kvzip import KVzipConfig
from vxl.llm.decoder import DecoderConfig
from vxl.option.rebuild import plain
from vxl.relevance.siglip import SiglipRelevanceConfig
from vxl.vision.siglip import SiglipConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("exported")
    export_transformers(
        make_run(root, "made", steps=(10,)), root / "out", overrides=["kv=snapkv", "kv.keep=0.5"]
    )
    return root / "out"


def test_the_folder_has_all_that_transformers_looks_for(folder: Path) -> None:
    names = {file.name for file in folder.iterdir() if file.suffix != ".py"}
    assert names == {
        "LICENSE",
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    config = json.loads((folder / "config.json").read_text())
    for reference in config["auto_map"].values():
        file, name = reference.split(".")
        assert name in (folder / f"{file}.py").read_text()
    assert config["parts"]["kv"]["_target_"] == "vxl.kv.snapkv.SnapKV"
    assert config["parts"]["kv"]["keep"] == 0.5
    assert (folder / "kv_snapkv.py").exists()
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == config["eos_token_id"]
    assert (generation["do_sample"], generation["repetition_penalty"]) == (False, 1.0)


def test_nothing_in_it_names_a_place_of_this_machine(folder: Path) -> None:
    for file in folder.iterdir():
        if file.suffix in (".json", ".md", ".py", ".jinja"):
            assert str(folder.parent) not in file.read_text(), file


def test_the_readme_says_what_it_is_and_under_which_licence(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "transformers"
    assert front["license_link"] == "LICENSE"
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "## Licence" in text
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        compile(block, "README.md", "exec")


def test_what_is_not_whole_is_not_written(tmp_path: Path) -> None:
    publish(tmp_path / "in", weights(), config=config_json())
    with pytest.raises(CheckpointError, match="came without a tokenizer"):
        export_transformers(tmp_path / "in", tmp_path / "out")
    run = make_run(tmp_path / "runs", "made", steps=(10,))
    with pytest.raises(ConfigError, match="there is no option kv=snapvk"):
        export_transformers(run, tmp_path / "out", overrides=["kv=snapvk"])
    with pytest.raises(ConfigError, match=r"does not hold llm\.fp8=true: how a model computes"):
        export_transformers(run, tmp_path / "out", overrides=["kv=snapkv", "llm.fp8=true"])
    assert not (tmp_path / "out").exists()


def test_settings_mean_the_same_elsewhere() -> None:
    class Tokenizer:
        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            return [len(text)]

    tokenizer: Any = Tokenizer()
    kv = KVzipConfig()
    texts = {name: value for name, value in vars(kv).items() if isinstance(value, str) and name != "_target_"}
    found = portable(settings(kv=kv), tokenizer).kv
    words = {name for name in texts if isinstance(getattr(found, name), list)}
    assert words
    assert all(getattr(found, name) == [len(texts[name])] for name in words)
    with pytest.raises(CheckpointError, match=r"reads relevance\.weights"):
        portable(settings(relevance=SiglipRelevanceConfig()), tokenizer)
    with pytest.raises(CheckpointError, match=r"llm\.weights=somewhere"):
        portable(settings(llm=DecoderConfig(weights="somewhere")), tokenizer)


def test_how_a_run_trained_is_left_behind() -> None:
    """What is refused as a change is what would be undone, and nothing else."""
    tokenizer: Any = None  # nothing here has words
    parts = settings(
        llm=DecoderConfig(attention="flex", checkpointing=True, recomputed="auto", fp8="emulated"),
        vision=SiglipConfig(weights="fetched", checkpointing=True, fp8="emulated"),
        prompt=PromptConfig(tokenizer="here"),
    )
    found = portable(parts, tokenizer)
    assert (found.llm.checkpointing, found.llm.recomputed, found.llm.fp8) == (False, 1.0, False)
    assert (found.vision.checkpointing, found.vision.fp8) == (False, False)
    before, after = plain(parts), plain(found)
    rooms = [room for room in before if isinstance(before[room], dict)]
    undone = {
        f"{room}.{key}" for room in rooms for key in before[room] if before[room][key] != after[room][key]
    }
    assert undone == set(LEFT_BEHIND)


def test_the_pages_commands_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(write, "export_transformers", lambda *words: seen.append(words))
    text = (ROOT / "docs" / "export.md").read_text()
    commands = re.findall(r"vxl (export [^\n`]*layout=transformers[^\n`]*)", text)
    for command in commands:
        main(shlex.split(command))
    assert len(seen) == len(commands) >= 2
    assert seen[-1][-1] == ["kv=snapkv", "kv.keep=0.25", "video.max_frames=64"]
