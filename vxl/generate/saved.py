"""Contexts on disk: a folder of safetensors and JSON that only the model that watched may read again."""

import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vxl.atomic import mend, whole_folder, why_not
from vxl.errors import CheckpointError
from vxl.faults import refused_by_disk
from vxl.generate.context import Context
from vxl.generate.json_tree import from_json, to_json
from vxl.kv.policy import PolicyConfig, held_as
from vxl.llm.block import Block, Places
from vxl.llm.cache.coded import CodedBlock
from vxl.llm.cache.host import HostBlock
from vxl.model import VideoLanguageModel
from vxl.option.moved import renewed
from vxl.option.rebuild import rebuild
from vxl.weights.coded import coded
from vxl.weights.sums import load_checked, sums_of

FORMAT = 1
FACTS = ("frames", "visual_tokens", "tokens", "watch_ms", "prefill_ms", "names", "about")


def save_context(context: Context, path: str | Path) -> None:
    """Writes a context into a folder, which is there complete or not at all.

    Keys, values (or their codes) and where they stand are written, layer by layer; rotated keys are made anew
    when it is read.

    Raises:
        CheckpointError: The folder is something else, or can't be written.
    """
    folder = Path(path)
    if folder.exists() and not (folder / "context.json").is_file():
        raise CheckpointError(f"{folder} exists and is no saved context.\n  name another folder")
    try:
        with whole_folder(folder, existing="replace") as part:
            _write(context, part)
    except (OSError, SafetensorError) as error:
        refused = error if isinstance(error, OSError) else refused_by_disk(error)
        if refused is None:
            raise
        raise CheckpointError(f"{folder} can't be written: {why_not(refused, 'context=FOLDER')}") from error


def read_context(path: str | Path, model: VideoLanguageModel) -> Context:
    """Reads a context that `save_context` wrote, onto the model's device.

    Args:
        path: The folder.
        model: The model that watched: the same weights in the same precision. Other policies may answer
            where both act at the question alone.

    Raises:
        CheckpointError: It is no context, damaged, or of another model or policy.
    """
    folder = Path(path)
    mend(folder)
    if not (folder / "context.json").is_file():
        raise CheckpointError(f"{folder} is no saved context: it has no context.json.")
    try:
        facts = json.loads((folder / "context.json").read_text())
        if facts.pop("sha256", None) not in (None, _sum_of(facts)):
            raise ValueError("context.json is not what was written")
        _check(facts, folder, model)
        return _read(facts, folder, model)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder} is damaged: {error}\n  watch the video again") from error


def weights_fingerprint(model: VideoLanguageModel) -> str:
    """Of a model's weights, codes of them included: names, shapes, precision, and sixteen values of every
    tensor."""
    digest = hashlib.blake2b(digest_size=16)
    codes = (
        (f"{name}.{own}", buffer)
        for name, layer in coded(model)
        for own, buffer in layer.named_buffers(recurse=False)
    )
    for name, tensor in (*model.named_parameters(), *codes):
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, len(flat) // 16)][:16].double().tolist()
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype), sample)).encode())
    return digest.hexdigest()


def _write(context: Context, folder: Path) -> None:
    cache, tensors = context.cache, {}
    places = [[[b.positions_BNS, b.index_BNS, b.valid_BNS] for b in blocks] for blocks in cache.layers]
    values = {
        "places": places,
        "next_B": cache.next_B,
        "layouts": cache.layouts,
        "state": cache.state,
        "waiting": context.waiting,
        "seen": context.seen,
    }
    facts = {
        "format": FORMAT,
        "model": weights_fingerprint(context.model),
        "kv": asdict(context.model.policy.config),
        "only_at_questions": context.model.policy.keeps_all_watched,
        "fed": cache.fed,
        "facts": {name: to_json(getattr(context, name), {}) for name in FACTS},
        "values": to_json(values, tensors),
        "codes": [],
    }
    alone = {name: _plain(tensor) for name, tensor in tensors.items()}
    save_file(alone, folder / "places.safetensors", sums_of(alone) or None)
    for layer, blocks in enumerate(cache.layers):
        layer_tensors: dict[str, Tensor] = {}
        inner = [block.inner if isinstance(block, HostBlock) else block for block in blocks]
        facts["codes"].append(to_json([_codes(block) for block in inner], layer_tensors))
        for n, block in enumerate(inner):
            if not block.coding:
                layer_tensors |= {f"{n}.keys": block.keys_BNSH, f"{n}.values": block.values_BNSH}
        layer_tensors = {name: _plain(tensor) for name, tensor in layer_tensors.items()}
        save_file(layer_tensors, folder / f"layer-{layer:03d}.safetensors", sums_of(layer_tensors) or None)
    facts["sha256"] = _sum_of(facts)
    (folder / "context.json").write_text(json.dumps(facts))


def _codes(block: Block) -> dict[str, Any] | None:
    """A block's codes and what they are read as; None for one that is none."""
    if not isinstance(block, CodedBlock):
        return None
    return {"keys": block.keys, "values": block.values, "dtype": str(block.dtype).removeprefix("torch.")}


def _sum_of(facts: dict[str, Any]) -> str:
    """SHA-256 of what context.json says; earlier releases wrote none."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _on(device: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _plain(tensor: Tensor) -> Tensor:
    """In the host's memory, and alone in its storage."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _check(facts: dict[str, Any], folder: Path, model: VideoLanguageModel) -> None:
    """Raises where a context is of another format, model or policy."""
    if facts["format"] != FORMAT:
        raise CheckpointError(f"{folder} has format {facts['format']}; this release reads {FORMAT}.")
    if facts["model"] != weights_fingerprint(model):
        raise CheckpointError(
            f"{folder} was watched by another model: other weights, or another precision.\n"
            "  load the model that it came from, or watch the video again"
        )
    kv = json.loads(json.dumps(asdict(model.policy.config)))
    watched_with = rebuild(PolicyConfig, renewed(facts["kv"]), "kv")
    then = json.loads(json.dumps(asdict(watched_with)))
    if held_as(model.policy.config) != held_as(watched_with):
        raise CheckpointError(
            f"{folder} was held with {_shown(then)}, and this model holds with {_shown(kv)}.\n"
            "  codes can't be changed: give the same kv.bits and kv.residual, or watch the video again"
        )
    if kv != then and not (facts["only_at_questions"] and model.policy.keeps_all_watched):
        raise CheckpointError(
            f"{folder} was watched with {_shown(then)}, and this model has {_shown(kv)}.\n"
            "  a policy that acts while it watches must be the same"
        )


def _shown(kv: dict[str, Any]) -> str:
    name = kv["_target_"].split(".")[-2]
    usual = {field.name: field.default for field in fields(PolicyConfig)}
    own = {k: v for k, v in kv.items() if k != "_target_" and v is not None and v != usual.get(k)}
    return " ".join([f"kv={name}", *(f"kv.{k}={v}" for k, v in own.items())])


def _read(facts: dict[str, Any], folder: Path, model: VideoLanguageModel) -> Context:
    device = str(model.device)
    try:
        values = from_json(facts["values"], _on(device, load_checked(folder / "places.safetensors")))
        cache = model.llm.new_cache(rows=len(values["next_B"]))
        if len(values["places"]) != len(cache.layers):
            raise CheckpointError(f"{folder} has {len(values['places'])} layers of {len(cache.layers)}.")
        for layer, places in enumerate(values["places"]):
            layer_tensors = _on(device, load_checked(folder / f"layer-{layer:03d}.safetensors"))
            blocks = []
            facts_read = (
                facts["codes"][layer] if "codes" in facts else [None] * len(places)
            )  # earlier releases
            for number, (stands, codes) in enumerate(
                zip(places, from_json(facts_read, layer_tensors), strict=True)
            ):
                if codes is not None:
                    kind = getattr(torch, codes["dtype"])
                    blocks.append(CodedBlock(codes["keys"], codes["values"], Places(*stands), kind))
                    continue
                keys, vals = layer_tensors[f"{number}.keys"], layer_tensors[f"{number}.values"]
                rotated = cache.rotary.turn(keys, stands[0]) if cache.memo else None
                blocks.append(Block(keys, vals, *stands, rotated))
            cache.layers[layer] = tuple(blocks)
            if model.policy.config.offload:
                cache.offload()
    except SafetensorError as error:
        raise CheckpointError(f"{folder} is damaged: {error}\n  watch the video again") from error
    cache.next_B, cache.fed = values["next_B"], facts["fed"]
    cache.layouts, cache.state = values["layouts"], values["state"]
    facts_read = {name: from_json(facts["facts"][name], {}) for name in FACTS}
    seen = values.get("seen")  # earlier releases kept none
    return Context(model=model, cache=cache, waiting=values["waiting"], seen=seen, **facts_read)
