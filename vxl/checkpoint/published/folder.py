"""A folder of weights as it was published: its shards, their index, config.json."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.checkpoint.layouts import ADAPTERS, INDEX, SHARD, WHOLE, weights_below
from vxl.errors import CheckpointError
from vxl.weights.inside import copy_from_folder, read_json_object
from vxl.weights.stored import Stored, open_file

WRAPPERS = ("module.", "_orig_mod.", "base_model.model.", "model.language_model.")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
)


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedFolder:
    """What a published folder holds."""

    path: Path
    tensors: dict[str, Stored]
    """Every tensor by its published name."""
    shards: dict[str, list[str]]
    """The names of the tensors in each file."""
    index: dict[str, Any] | None
    """`metadata` of the index; None where one file holds all."""
    config: dict[str, Any]
    """config.json; empty where there is none."""


def read_published(path: Path) -> PublishedFolder:
    """Opens a published folder; no tensor is read yet.

    Raises:
        CheckpointError: A shard is missing, cut, or not what the index says; or it is an adapter alone.
    """
    shard_of, metadata = _listed(path)
    shards = _shards(path, shard_of)
    tensors: dict[str, Stored] = {}
    names_of_shard: dict[str, list[str]] = {}
    for shard in shards:
        tensors_of_shard = open_file(path / shard)
        again = tensors.keys() & tensors_of_shard.keys()
        if again:
            first = min(again)
            raise CheckpointError(f"{path / shard} holds {first}, and {_file(tensors[first])} does too.")
        tensors |= tensors_of_shard
        names_of_shard[shard] = list(tensors_of_shard)
    refuse_adapter(path, tensors)
    if shard_of is not None:
        _compare(path, shard_of, tensors)
    if wrapper := _wrapper_of(tensors):
        log.info("%s: every name begins with %s, which is left out", path, wrapper)
        tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
        names_of_shard = {
            shard: [name.removeprefix(wrapper) for name in names] for shard, names in names_of_shard.items()
        }
    return PublishedFolder(path, tensors, names_of_shard, metadata, read_json_object(path / "config.json"))


def _wrapper_of(names: Collection[str]) -> str:
    """What DDP, torch.compile, PEFT or a multimodal wrapper put in front of every name; mostly nothing."""
    wrapper = ""
    while names:
        wrappers = [w for w in WRAPPERS if all(name.startswith(wrapper + w) for name in names)]
        if not wrappers:
            break
        wrapper += wrappers[0]
    return wrapper


def refuse_adapter(path: Path, names: Iterable[str] = ()) -> None:
    """Raises for a LoRA adapter, which is no model."""
    lora = [name for name in names if "lora_" in name]
    if not lora and not any((path / file).exists() for file in ADAPTERS):
        return
    if not lora and any((path / file).exists() for file in (*WHOLE, *INDEX.values())):
        return
    base = read_json_object(path / "adapter_config.json").get("base_model_name_or_path")
    count = f"{len(lora)} " if lora else ""
    raise CheckpointError(
        f"{path} is a LoRA adapter: {count}tensors that change a base model, and not the base itself.\n"
        f"  its base: {base or 'adapter_config.json does not name it'}\n"
        "  merge them with peft, save the result, and import that:\n"
        f"    PeftModel.from_pretrained(base, '{path}').merge_and_unload().save_pretrained('MERGED')\n"
        "    vxl import MERGED"
    )


def lines(names: Sequence[str], most: int = 8) -> str:
    """Names one a line, the first few of them."""
    more = [f"… and {len(names) - most} more"] if len(names) > most else []
    return "\n  ".join([*names[:most], *more])


def _listed(path: Path) -> tuple[dict[str, str] | None, dict[str, Any] | None]:
    """({tensor: its shard}, metadata) of the index, if the folder has one that counts."""
    for whole, index in INDEX.items():
        if (path / whole).exists():
            return None, None
        if (path / index).exists():
            content = read_json_object(path / index)
            places = content.get("weight_map")
            metadata = content.get("metadata") or {}
            if (
                not isinstance(places, dict)
                or not places
                or not isinstance(metadata, dict)
                or not all(isinstance(shard, str) for shard in places.values())
            ):
                raise CheckpointError(
                    f"{path / index} has no weight_map.\n  expected: the shard of each tensor\n"
                    "  copy or download it again"
                )
            return places, metadata
    return None, None


def _shards(path: Path, shard_of: dict[str, str] | None) -> list[str]:
    """The names of the files that hold the weights, all of which are there."""
    if not path.is_dir():
        raise CheckpointError(f"{path} is no folder.\n  expected: a folder with config.json and weights")
    if shard_of is not None:
        shard_names = sorted(set(shard_of.values()))
        outside = [name for name in shard_names if Path(name).name != name or name in ("", ".", "..")]
        if outside:
            raise CheckpointError(f"{path}: the index names {outside[0]!r}, which is outside the folder.")
        return _all_there(path, shard_names, "the index names")
    for whole in WHOLE:
        if (path / whole).exists():
            return [whole]
    parts = sorted(file.name for file in path.iterdir() if SHARD.fullmatch(file.name))
    if parts:  # shards that lost their index still say how many they were
        match = SHARD.fullmatch(parts[0])
        assert match is not None
        stem, _, count, ending = match.groups()
        shard_names = [f"{stem}-{number:05d}-of-{count}.{ending}" for number in range(1, int(count) + 1)]
        return _all_there(path, shard_names, "their names count")
    refuse_adapter(path)
    _refuse_deepspeed(path)
    alone = sorted(file.name for file in path.glob("*.safetensors"))
    if len(alone) == 1:
        return alone
    raise CheckpointError(
        f"{path} holds no weights.\n"
        f"  expected: {', '.join(WHOLE)}, or shards with {' or '.join(INDEX.values())}\n"
        f"  it holds: {', '.join(sorted(file.name for file in path.iterdir())[:8]) or 'nothing'}"
        + "".join(f"\n  did you mean {folder}?" for folder in weights_below(path)[-1:])
    )


def _refuse_deepspeed(path: Path) -> None:
    """Raises for a checkpoint that DeepSpeed wrote, whose tensors are spread over its ranks."""
    if not (path / "zero_to_fp32.py").exists() and not any(path.glob("global_step*")):
        return
    raise CheckpointError(
        f"{path} is a checkpoint of DeepSpeed: its tensors are spread over the ranks that trained.\n"
        "  put them together with the script that DeepSpeed wrote beside them, and import the result:\n"
        f"    cd {path} && python zero_to_fp32.py . joined --safe_serialization && cp config.json joined/\n"
        f"    vxl import {path}/joined"
    )


def _all_there(path: Path, shard_names: list[str], who: str) -> list[str]:
    missing = [name for name in shard_names if not (path / name).exists()]
    if missing:
        names = ", ".join(missing[:6]) + (", …" if len(missing) > 6 else "")
        raise CheckpointError(
            f"{path} lacks {len(missing)} of the {len(shard_names)} shards that {who}: {names}\n"
            "  copy or download them too; a model is never loaded in part"
        )
    return shard_names


def _compare(path: Path, shard_of: dict[str, str], tensors: dict[str, Stored]) -> None:
    """Raises where the index and the shards hold other tensors."""
    problems = [
        f"{name}: not in {shard}, as the index says"
        for name, shard in shard_of.items()
        if name not in tensors or _file(tensors[name]) != shard
    ]
    problems += [f"{name}: in {_file(tensors[name])}, not in the index" for name in tensors.keys() - shard_of]
    if problems:
        raise CheckpointError(
            f"{path}: the index lists {len(shard_of)} tensors, the shards hold {len(tensors)}, and "
            f"{len(problems)} differ.\n  {lines(problems)}\n  copy or download it again"
        )


def _file(tensor: Stored) -> str:
    return tensor.file.name


def _copy_tokenizer(source: Path | None, target: Path) -> None:
    if source is None:
        return
    target.mkdir(exist_ok=True)
    for name in TOKENIZER:
        if (source / name).exists():
            copy_from_folder(source / name, source, target / name)
