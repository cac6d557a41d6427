"""Folders of weights in use: loaded by path, by config, in training; and runs written as folders."""

import logging
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

import vxl
from tests.checkpoint.published.folders import files, publish, same_bits, weights
from tests.run_directories import CLIP, TEXTS, make_run
from vxl.checkpoint.convert import export_weights, import_weights
from vxl.checkpoint.fill import fill, skeleton
from vxl.checkpoint.open_weights import open_weights
from vxl.checkpoint.resolved import model_parts, read_config
from vxl.checkpoint.source import find_source
from vxl.checkpoint.weights import Weights
from vxl.data.batch.tokenizer import save_tokenizer, train_tokenizer
from vxl.errors import CheckpointError, ConfigError
from vxl.model import build_model
from vxl.weights.stored import Stored


def with_tokenizer(source: Path) -> Path:
    save_tokenizer(train_tokenizer(TEXTS, 300), source / "t")
    for file in (source / "t").iterdir():
        file.rename(source / file.name)
    (source / "t").rmdir()
    return source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_tokenizer(publish(tmp_path_factory.mktemp("in") / "tiny-xl2", shards=2))


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "imported"
    import_weights(source, out)
    return out


def test_both_kinds_load_alike(source: Path, folder: Path) -> None:
    places = {"published": source, "folder": folder, "its config": folder / "resolved.yaml"}
    loaded = {name: vxl.load(place, device="cpu") for name, place in places.items()}
    first = loaded["published"]
    assert first.checkpoint == source
    assert not first.model.training
    for other in loaded.values():
        assert {**other.values, "weights": ""} == {**first.values, "weights": ""}
        state = other.model.state_dict()
        assert all(torch.equal(state[name], value) for name, value in first.model.state_dict().items())
    answers = {
        name: m.ask(m.watch(CLIP), "What is shown?", max_new_tokens=4).tokens for name, m in loaded.items()
    }
    assert len(set(answers.values())) == 1


def test_precisions(folder: Path) -> None:
    assert {p.dtype for p in vxl.load(folder, device="cpu").model.parameters()} == {torch.float32}
    model = vxl.load(folder, device="cpu", dtype=torch.bfloat16).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_overrides_change_settings_and_parts(folder: Path, source: Path) -> None:
    for place in (folder, source):
        loaded = vxl.load(
            place, overrides=["video.max_frames=8", "kv=streaming", "kv.tokens=32"], device="cpu"
        )
        assert loaded.config.video.max_frames == 8
        assert type(loaded.model.policy).__name__ == "Streaming"


def test_a_config_elsewhere_may_name_the_folder(folder: Path, tmp_path: Path) -> None:
    values = read_config(folder / "resolved.yaml") | {"weights": str(folder)}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    loaded = vxl.load(tmp_path / "mine.yaml", device="cpu")
    assert loaded.checkpoint == folder
    assert torch.equal(loaded.model.compressor.projector[0].weight, weights()["model.mm_projector.0.weight"])


def test_a_copied_config_does_not_mean_random_weights(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "resolved.yaml").write_text((folder / "resolved.yaml").read_text())
    with pytest.raises(CheckpointError, match=r"weights=\."):
        vxl.load(tmp_path / "resolved.yaml", device="cpu")


def test_without_a_tokenizer_the_model_loads_and_asking_says_what_is_missing(tmp_path: Path) -> None:
    import_weights(publish(tmp_path / "in"), tmp_path / "out")
    for place in (tmp_path / "in", tmp_path / "out"):
        loaded = vxl.load(place, device="cpu")
        with pytest.raises(ConfigError, match=r"came without a tokenizer.\n  type  prompt.tokenizer=FOLDER"):
            loaded.watch(CLIP)
    save_tokenizer(train_tokenizer(TEXTS, 300), tmp_path / "tokenizer")
    loaded = vxl.load(
        tmp_path / "out", overrides=[f"prompt.tokenizer={tmp_path / 'tokenizer'}"], device="cpu"
    )
    assert loaded.watch(CLIP).frames == 32


def test_a_tokenizer_that_is_larger_than_the_model(tmp_path: Path) -> None:
    source = publish(tmp_path / "in")
    save_tokenizer(
        train_tokenizer([f"{a}{b}{c} " * 3 for a in "abcdefgh" for b in "ijklmn" for c in "opqrst"], 700),
        tmp_path / "tokenizer",
    )
    with pytest.raises(ConfigError, match=r"the tokenizer has \d+ tokens, the language model 512"):
        vxl.load(source, overrides=[f"prompt.tokenizer={tmp_path / 'tokenizer'}"], device="cpu")


def test_training_starts_from_a_folder(source: Path, folder: Path) -> None:
    wanted = vxl.load(folder, device="cpu")
    for place in (source, folder):
        model = build_model(wanted.config, seed=5)
        find_source(place, place.parent).fill(model)
        state = model.state_dict()
        assert all(torch.equal(state[name], value) for name, value in wanted.model.state_dict().items())


def test_other_switches_than_the_weights_were_trained_with_are_named(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = model_parts(read_config(folder / "resolved.yaml", ["compressor.published_layout=false"]))
    model = build_model(config)
    with caplog.at_level(logging.WARNING):
        find_source(folder, folder.parent).fill(model)
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}: these weights were trained with compressor.published_layout=True, not False"
    ]


def test_a_model_of_another_size_is_not_filled(folder: Path) -> None:
    config = model_parts(read_config(folder / "resolved.yaml", ["llm.mlp=160"]))
    with pytest.raises(CheckpointError, match=r"up_proj.weight is \[192, 96\], expected \[160, 96\]"):
        find_source(folder, folder.parent).fill(build_model(config))


def counted(weights: Weights) -> tuple[Weights, list[int]]:
    """The same weights, and how many tensors were alive at each reading."""
    alive: list[weakref.ref[Tensor]] = []
    most: list[int] = []

    def watched(tensor: Stored) -> Stored:
        def read() -> Tensor:
            value = tensor.read()
            alive.append(weakref.ref(value))
            most.append(sum(reference() is not None for reference in alive))
            return value

        return Stored(tensor.dtype, tensor.shape, tensor.file, read)

    tensors = {name: watched(tensor) for name, tensor in weights.tensors.items()}
    return Weights(weights.path, tensors, weights.values, record=weights.record), most


def test_tensors_are_read_one_at_a_time(source: Path, tmp_path: Path) -> None:
    from vxl.checkpoint.write import write_vxl

    weights, alive = counted(open_weights(source))
    fill(skeleton(model_parts(weights.values)), weights)
    assert len(alive) == 119
    assert max(alive) == 1
    alive.clear()
    write_vxl(weights, tmp_path / "out")
    assert max(alive) == 1


def test_a_filled_model_does_not_share_memory_with_the_file(tmp_path: Path) -> None:
    for ending in ("bin", "safetensors"):
        place = publish(tmp_path / ending, ending=ending)
        model = vxl.load(place, device="cpu").model
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        again = vxl.load(place, device="cpu").model
        assert torch.equal(again.compressor.projector[0].weight, weights()["model.mm_projector.0.weight"])


def test_a_run_is_written_as_a_folder_and_loads_the_same(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", "made")
    export_weights("made", tmp_path / "out", published=False, checkpoint=10, runs=tmp_path / "runs")
    ours, theirs = vxl.load(tmp_path / "out", device="cpu"), vxl.load(run, checkpoint=10, device="cpu")
    state = ours.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in theirs.model.state_dict().items())
    assert ours.config.compressor == theirs.config.compressor
    asked = [m.ask(m.watch(CLIP), "What?", max_new_tokens=3).tokens for m in (ours, theirs)]
    assert asked[0] == asked[1]


def test_a_run_of_pretrained_parts_is_written_with_their_sizes(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 320, "hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 3, "num_key_value_heads": 1, "tie_word_embeddings": True}
    LlamaForCausalLM(LlamaConfig(**sizes, **heads, rms_norm_eps=1e-5)).save_pretrained(tmp_path / "llama")
    run = make_run(tmp_path / "runs", "made", f"llm.weights={tmp_path / 'llama'}", steps=(1,))
    export_weights(str(run), tmp_path / "out", published=False)
    shutil.rmtree(tmp_path / "llama")
    loaded = vxl.load(tmp_path / "out", device="cpu")
    assert loaded.config.llm.weights == "random"
    made = loaded.model.llm.causal_lm
    assert type(made).__name__ == "LlamaForCausalLM"
    assert made.lm_head.weight is made.model.embed_tokens.weight
    assert (loaded.model.llm.layers, loaded.model.llm.width, made.config.rms_norm_eps) == (2, 96, 1e-5)


def test_a_run_whose_numbers_the_published_code_would_not_give(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "made", steps=(1,))
    with pytest.raises(CheckpointError) as caught:
        export_weights("made", tmp_path / "out", runs=tmp_path / "runs")
    assert "compressor.published_layout=False, there True" in str(caught.value)
    assert "--layout vxl" in str(caught.value)


def test_a_run_in_the_published_layout_comes_back(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", "made", "compressor=dts_published", "compressor.grid=24", steps=(1,))
    export_weights("made", tmp_path / "out", runs=tmp_path / "runs")
    assert list(files(tmp_path / "out")) == ["model.safetensors"]
    there, back = vxl.load(run, device="cpu"), vxl.load(tmp_path / "out", device="cpu")
    state = back.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in there.model.state_dict().items())
    assert back.config.vision == replace(there.config.vision, slice=64)
    assert back.config.llm == replace(there.config.llm, checkpointing=True, init_std=0.02)
    assert len(back.tokenizer) == len(there.tokenizer)


def test_a_run_from_published_weights_goes_back_into_their_files(source: Path, tmp_path: Path) -> None:
    from torch.distributed import checkpoint as dcp

    loaded = vxl.load(source, device="cpu")
    run = tmp_path / "runs" / "tuned"
    place = run / "checkpoints" / "step-000001"
    place.mkdir(parents=True)
    with torch.no_grad():
        loaded.model.compressor.projector[0].bias.add_(1)
    dcp.save({"model": loaded.model.state_dict()}, checkpoint_id=place, no_dist=True)
    (run / "resolved.yaml").write_text(yaml.safe_dump(loaded.values | {"weights": str(source)}))
    export_weights(str(run), tmp_path / "out")
    there, back = files(source), files(tmp_path / "out")
    assert {file: held.keys() for file, held in back.items()} == {
        file: held.keys() for file, held in there.items()
    }
    changed = [
        name for file, held in there.items() for name in held if not same_bits(held[name], back[file][name])
    ]
    assert changed == ["model.mm_projector.0.bias"]
    assert (tmp_path / "out" / "config.json").read_text() == (source / "config.json").read_text()


def test_a_large_model_is_cut_into_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.setattr("vxl.checkpoint.published.write.SHARD_BYTES", 1_000_000)
    run = make_run(tmp_path / "runs", "made", "compressor=dts_published", "compressor.grid=24", steps=(1,))
    export_weights(str(run), tmp_path / "out")
    held = files(tmp_path / "out")
    assert len(held) > 2
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {name: file for file, part in held.items() for name in part}
    back = vxl.load(tmp_path / "out", device="cpu").model.state_dict()
    there = vxl.load(run, device="cpu").model.state_dict()
    assert all(torch.equal(back[name], value) for name, value in there.items())
