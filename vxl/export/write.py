"""`vxl export … layout=transformers`: a folder that transformers loads without vxl."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerFast

from vxl.atomic import new_folder, refuse_existing
from vxl.checkpoint.fill import refuse_unlike, skeleton
from vxl.checkpoint.layouts import INDEX, WHOLE
from vxl.checkpoint.published.write import shards_of
from vxl.checkpoint.resolved import model_parts, with_changes
from vxl.checkpoint.source import find_source
from vxl.checkpoint.weights import Weights
from vxl.data.batch.prompt import END, START, special_ids
from vxl.data.batch.tokenizer import load_tokenizer
from vxl.errors import CheckpointError, ConfigError
from vxl.export.configuration_vxl import VxlConfig
from vxl.export.conversation import TEMPLATE
from vxl.export.flatten import flat_name, flatten
from vxl.export.readme import readme
from vxl.option.rebuild import plain
from vxl.parts import ModelParts
from vxl.weights.stored import write_safetensors

ROOTS = {
    f"vxl.export.{name}": name
    for name in ("configuration_vxl", "modeling_vxl", "processing_vxl", "body_vxl", "cache_vxl")
}
MODEL = "modeling_vxl.VxlForCausalLM"
AUTO_MAP = {
    "AutoConfig": "configuration_vxl.VxlConfig",
    "AutoModel": "modeling_vxl.VxlModel",
    "AutoModelForCausalLM": MODEL,
    "AutoModelForImageTextToText": MODEL,
    "AutoModelForMultimodalLM": MODEL,
    "AutoProcessor": "processing_vxl.VxlProcessor",
}
SAMPLERS = ("vxl.video.sample.Fps", "vxl.video.sample.Uniform")
"""Always there: `chat` and the processor choose between them."""
INSIDE = "model.parts."
"""What stands in front of vxl's names of tensors."""
LONGEST_ANSWER = 64
"""Tokens, where no number is given; as `vxl ask`."""
LEFT_BEHIND = (
    *("vision.weights", "vision.checkpointing", "vision.fp8", "prompt.tokenizer"),
    *("llm.attention", "llm.checkpointing", "llm.recomputed", "llm.fp8"),
)
"""What `portable` sets: files of this machine, and how a model computes."""


def export_transformers(
    source: str | Path,
    out: Path,
    checkpoint: str | int = "last",
    runs: Path = Path("runs"),
    overrides: Sequence[str] = (),
) -> None:
    """Writes a model in the layout of transformers: weights, code, processor, tokenizer.

    Args:
        source: A folder of weights, or a run (its name below `runs`, or its path).
        out: The folder to write; it must not exist.
        checkpoint: Which of a run's checkpoints.
        runs: The folder of runs.
        overrides: Changes to the config, such as `kv=snapkv` or `video.max_frames=64`.

    Raises:
        ConfigError: A change that an export does not hold.
        CheckpointError: The weights are not complete, came without a tokenizer, or need files beside them.
    """
    refuse_existing(out)
    if ignored := [word for word in overrides if word.partition("=")[0] in LEFT_BEHIND]:
        raise ConfigError(
            f"an export does not hold {', '.join(ignored)}: how a model computes is said where it is used.\n"
            f"  leave out  {' '.join(ignored)}"
        )
    weights = find_source(Path(source).expanduser(), runs, checkpoint).weights()
    if weights.tokenizer is None:
        raise CheckpointError(
            f"{weights.path} came without a tokenizer, which an export holds.\n"
            "  import the weights anew from a folder that has one"
        )
    tokenizer = load_tokenizer(weights.tokenizer)
    parts = portable(model_parts(with_changes(weights.values, overrides)), tokenizer)
    refuse_unlike(weights, skeleton(parts))
    values = json.loads(json.dumps(plain(parts)))
    trained = (weights.values.get("data") or {}).get("max_tokens", 0)
    longest = None if parts.llm.extrapolate else max(parts.llm.max_positions, trained)
    with new_folder(out) as folder:
        _write_weights(weights, folder)
        for name, text in code(parts).items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
        _write_settings(values, longest, weights, tokenizer, folder)
        (folder / "README.md").write_text(readme(parts, weights, out.name), encoding="utf-8")
        (folder / "LICENSE").write_text(licence(), encoding="utf-8")


def portable(parts: ModelParts, tokenizer: PreTrainedTokenizerFast) -> ModelParts:
    """A model's settings as they mean the same elsewhere: no paths, no words that want a tokenizer.

    Raises:
        CheckpointError: A part reads files of its own.
    """
    relevance = plain(parts.relevance)
    needs = [f"relevance.{key}={relevance[key]}" for key in ("weights", "file") if key in relevance]
    if parts.llm.weights != "random":
        needs.append(f"llm.weights={parts.llm.weights}, whose positions vxl's config has no keys for")
    if needs:
        raise CheckpointError(
            f"an export holds the model's own weights alone, but it reads {', '.join(needs)}.\n"
            "  without it:  relevance=attention"
        )
    words = {
        field.name: tokenizer.encode(text, add_special_tokens=False)
        for field in dataclasses.fields(parts.kv)
        if _is_words(field) and isinstance(text := getattr(parts.kv, field.name), str) and text
    }
    return replace(
        parts,
        # Nothing there codes weights, and how a run recomputed blocks is of no use.
        vision=replace(parts.vision, weights="random", checkpointing=False, fp8=False),
        llm=replace(parts.llm, attention="sdpa", checkpointing=False, recomputed=1.0, fp8=False),
        kv=replace(parts.kv, **words),
        prompt=replace(parts.prompt, tokenizer=None),
        weights="random",
    )


def _is_words(field: dataclasses.Field) -> bool:
    """Whether a field holds a text or its tokens (vxl.kv.scored.words.Words)."""
    return str(field.type).replace(" ", "") in ("Words", "str|list[int]")


def code(parts: ModelParts) -> dict[str, str]:
    """The flat files of the code that a model needs: {name without .py: source}."""
    named = sorted({*_targets(plain(parts)), *SAMPLERS})
    modules = {path.rpartition(".")[0] for path in named}
    lines = ['"""The classes that the options of this model name."""', ""]
    called = {path: f"{flat_name(path.rpartition('.')[0])}_{path.rpartition('.')[2]}" for path in named}
    for path, name in called.items():
        module, _, inside = path.rpartition(".")
        lines.append(f"from .{flat_name(module)} import {inside} as {name}")
    entries = [f'    "{path}": {name},' for path, name in called.items()]
    targets = "\n".join([*lines, "", "TARGETS = {", *entries, "}", ""])
    return flatten(ROOTS, sorted(modules), {"vxl.export.targets": targets})


def _targets(values: Any) -> list[str]:
    if isinstance(values, Mapping):
        own = [values["_target_"]] if "_target_" in values else []
        return own + [target for value in values.values() for target in _targets(value)]
    return []


def _write_weights(weights: Weights, folder: Path) -> None:
    tensors = {INSIDE + name: tensor for name, tensor in weights.tensors.items()}
    shards, index = shards_of(tensors)
    for shard, names in shards.items():
        write_safetensors(folder / shard, {name: tensors[name] for name in names}, {"format": "pt"})
    if index is not None:
        places = {name: shard for shard, names in shards.items() for name in names}
        text = json.dumps({"metadata": index, "weight_map": dict(sorted(places.items()))}, indent=2)
        (folder / INDEX[WHOLE[0]]).write_text(text + "\n")


def _write_settings(
    values: dict[str, Any],
    longest: int | None,
    weights: Weights,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
) -> None:
    """config.json, generation_config.json, processor_config.json, the tokenizer and the chat template."""
    pad, _, end, _ = special_ids(tokenizer)
    own = {"eos_token_id": [end, pad], "pad_token_id": pad, "bos_token_id": None}
    config = VxlConfig(
        values,
        longest,
        architectures=[MODEL.partition(".")[2]],
        auto_map=AUTO_MAP,
        dtype=str(weights.dtype).removeprefix("torch."),
        **own,
    )
    config.save_pretrained(folder)
    # A penalty of 1.0 is said out loud: tools that merge files may bring Qwen2's 1.05.
    GenerationConfig(
        **own, do_sample=False, repetition_penalty=1.0, max_new_tokens=LONGEST_ANSWER
    ).save_pretrained(folder)
    system = json.dumps(f"{START}system\n{values['prompt']['system']}{END}\n", ensure_ascii=False)
    tokenizer.chat_template = TEMPLATE.replace("SYSTEM", system)
    tokenizer.save_pretrained(folder)
    processor = {
        "processor_class": "VxlProcessor",
        "auto_map": {"AutoProcessor": AUTO_MAP["AutoProcessor"]},
        "parts": values,
    }
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2) + "\n")


def licence() -> str:
    """vxl's licence, under which an export's code stands."""
    try:
        found = [file for file in files("vxl") or () if file.name == "LICENSE"]
        places = [Path(str(file.locate())) for file in found]
    except PackageNotFoundError:
        places = []
    places.append(Path(__file__).parents[2] / "LICENSE")  # a checkout
    return next(place.read_text(encoding="utf-8") for place in places if place.is_file())
