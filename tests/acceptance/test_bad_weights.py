"""What bad weights get, and sequences that do not fit a model: one row a case, with the exact text.

A row is a `vxl` command as it is typed, run in this process in a folder of its own, or a call where no
command leads there. Weights are published folders in miniature.
"""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.checkpoint.published.folders import config_json, publish, weights
from tests.cli.test_weights import with_tokenizer
from tests.small_model import head, model, video
from vxl.cli.main import main
from vxl.errors import VxlError
from vxl.generate.watching import layout_of
from vxl.sequence.layout import Layout

CLIP = Path(__file__).parents[2] / "examples/clips/city.mp4"
NORM, PROJECTOR = "model.layers.1.input_layernorm.weight", "model.mm_projector.2.weight"


class Harm:
    """What a pickle would execute."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harmed",)


def nothing(folder: Path) -> None:
    """The call alone is the bad input."""


def missing_shard(folder: Path) -> None:
    (publish(folder / "in", shards=4) / "model-00002-of-00004.safetensors").unlink()


def without(*names: str) -> Callable[[Path], None]:
    """A folder that lacks tensors."""

    def prepare(folder: Path) -> None:
        publish(folder / "in", {key: value for key, value in weights().items() if key not in names})

    return prepare


def changed(more: dict[str, Tensor], **config: object) -> Callable[[Path], None]:
    """A folder with other or more tensors, and another config.json."""

    def prepare(folder: Path) -> None:
        publish(folder / "in", weights() | more, config=config_json(**config))

    return prepare


def unknown_family(folder: Path) -> None:
    publish(folder / "in", {"blocks.0.w": torch.ones(1), "blocks.1.w": torch.ones(1)})


def adapter(folder: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    source = publish(folder / "in", {name: torch.ones(2, 2)})
    (source / "adapter_config.json").write_text('{"base_model_name_or_path": "BAAI/Video-XL-2"}')
    (source / "model.safetensors").rename(source / "adapter_model.safetensors")
    (source / "config.json").unlink()


def executable(folder: Path) -> None:
    source = publish(folder / "in", ending="bin")
    torch.save(weights() | {"x": Harm()}, source / "pytorch_model.bin")


def unknown_heads(folder: Path) -> None:
    config = config_json()
    del config["vision_config"]["num_attention_heads"]
    publish(folder / "in", config=config)


def complete(folder: Path) -> None:
    with_tokenizer(publish(folder / "in"))


def watch_large_frames() -> None:
    """The tower of the miniature takes 56 pixels."""
    model().encode(torch.zeros(4, 3, 64, 48, dtype=torch.uint8))


def splice_too_few() -> None:
    m, encoded = model(), head(video(3))
    m.splice(torch.tensor([encoded.tokens]), torch.zeros(2, 4, 48), layout_of(encoded))


def splice_nothing() -> None:
    model().splice(torch.tensor([[1, 2]]), torch.zeros(1, 4, 48), Layout.text(1, 2))


@dataclass(frozen=True)
class Case:
    """What is done, and what comes of it."""

    act: str | Callable[[], None]
    """What is typed after `vxl`, or a call."""
    error: str
    """All of standard error, the working directory written as FOLDER."""
    prepare: Callable[[Path], None] = nothing
    """Puts the bad input into the working directory."""


CASES = {
    "a missing shard": Case(
        "import in out",
        "checkpoint error: in lacks 1 of the 4 shards that the index names: "
        "model-00002-of-00004.safetensors\n"
        "  copy or download them too; a model is never loaded in part",
        missing_shard,
    ),
    "a missing tensor": Case(
        "import in out",
        "checkpoint error: in does not fill the model: 118 of 119 tensors are there, 0 are "
        "unknown, 0 have another shape.\n"
        "  missing: model.layers.1.input_layernorm.weight [96]\n"
        "  copy or download it again; a model is never loaded in part",
        without(NORM),
    ),
    "an unknown tensor": Case(
        "import in out",
        "checkpoint error: in is a Video-XL-2, but 1 of its 122 tensors are none of that model's:\n"
        "  model.image_newline\n"
        "  expected: the tensors of BAAI/Video-XL-2",
        changed({"model.image_newline": torch.ones(96)}),
    ),
    "a wrong shape": Case(
        "import in out",
        "checkpoint error: in does not fill the model: 119 of 119 tensors are there, 0 are "
        "unknown, 1 have another shape.\n"
        "  wrong shape: model.mm_projector.2.weight is [96, 95], expected [96, 96]\n"
        "  copy or download it again; a model is never loaded in part",
        changed({PROJECTOR: torch.ones(96, 95)}),
    ),
    "another config.json": Case(
        "import in out",
        "checkpoint error: in: config.json and the tensors are of different models.\n"
        "  hidden_size is 128 in config.json, 96 in the tensors: llm.width=96\n"
        "  copy or download both again, or say the last if the tensors are right",
        changed({}, hidden_size=128),
    ),
    "heads that nothing says": Case(
        "import in out",
        "checkpoint error: in does not say how many heads the tower has, and 64 is no width that "
        "is known for it.\n"
        "  known: 1152: 16, 1024: 16\n"
        "  say it:  vision.heads=NUMBER   (with the command, or as an override of vxl.load)",
        unknown_heads,
    ),
    "an unknown family": Case(
        "import in out",
        "checkpoint error: in holds 2 tensors of no model that vxl knows.\n"
        "  they begin with: blocks.0, blocks.1\n"
        "  expected: model.sae.* or beacon_*, model.mm_projector.*, "
        "model.vision_tower.vision_tower.vision_model.*, model.layers.* of\n"
        "    Video-XL: sy1998/Video_XL\n"
        "    Video-XL-Pro (March): MINT-SJTU/Video-XL-Pro-3B\n"
        "    Video-XL-Pro (April): MINT-SJTU/Video-XL-Pro-3B\n"
        "    Video-XL-2: BAAI/Video-XL-2\n"
        "  a language model or a tower alone:  llm.weights=PATH   vision.weights=PATH\n"
        "  dts.pth or a projector alone:       vxl import FILE OUT --part compressor|projector",
        unknown_family,
    ),
    "a LoRA adapter without its base": Case(
        "import in out",
        "checkpoint error: in is a LoRA adapter: tensors that change a base model, and not the "
        "base itself.\n"
        "  its base: BAAI/Video-XL-2\n"
        "  merge them with peft, save the result, and import that:\n"
        "    PeftModel.from_pretrained(base, 'in').merge_and_unload().save_pretrained('MERGED')\n"
        "    vxl import MERGED",
        adapter,
    ),
    "a pickle that would execute": Case(
        "import in out",
        "checkpoint error: in/pytorch_model.bin is not a pickle of tensors alone and was not "
        "opened, since it could execute code: it calls posix.mkdir.\n"
        "  expected: a state dict, {name: tensor}\n"
        "  save it as safetensors where you trust it:  safetensors.torch.save_file(state_dict, "
        "'model.safetensors')",
        executable,
    ),
    "weights that are not there": Case(
        "ask weights=nowhere {CLIP} What?",
        "checkpoint error: weights=nowhere: neither a run in runs/ nor a checkpoint folder, nor "
        "a folder of weights.\n"
        "  type one of\n"
        "    weights=FOLDER                              published weights, or those of `vxl "
        "import`\n"
        "    weights=runs/NAME                           a run's last checkpoint\n"
        "    weights=runs/NAME/checkpoints/step-000123   this one\n"
        "    weights=random                              an untrained model",
        complete,
    ),
    "a frame of the wrong size": Case(
        watch_large_frames,
        "the vision tower got frames of (3, 64, 48) torch.uint8.\n"
        "  expected: (3, 56, 56) torch.uint8\n"
        "  resize them first: vxl.video.transform.resize_FCHW(frames_FCHW, vision.pixels)",
    ),
    "more placeholders than visual tokens": Case(
        splice_too_few,
        "the sequences have 12 visual positions, but there are 8 visual tokens.\n"
        "  expected: 4 positions for every 4 frames",
    ),
    "more visual tokens than placeholders": Case(
        splice_nothing,
        "the sequences have 0 visual positions, but there are 4 visual tokens.\n"
        "  expected: 4 positions for every 4 frames",
    ),
    "more than the context holds": Case(
        "ask weights=in {CLIP} What? llm.max_positions=1024 video.max_frames=32",
        "in, videoxl2, on cpu\n"
        "data error: 1263 tokens to read, but the language model was trained for 1024.\n"
        "  25 of the 32 frames fit:  video.max_frames=25\n"
        "  a bounded cache:  kv=streaming\n"
        "  all of it, at positions that it was not trained for:  llm.extrapolate=true",
        complete,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_screen(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    monkeypatch.chdir(tmp_path)
    case.prepare(tmp_path)
    if isinstance(case.act, str):
        words = shlex.split(case.act.format(CLIP=CLIP))
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        error = capsys.readouterr().err.replace(str(tmp_path), "FOLDER")
    else:
        with pytest.raises(VxlError) as caught:
            case.act()
        error = str(caught.value)
    assert error.strip() == case.error
    assert not any((tmp_path / left).exists() for left in ("out", "harmed"))
