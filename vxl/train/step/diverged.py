"""What a run leaves when its loss or gradient is no number any more: the batch, and the weights it met.

    diverged/step-000124/
      checkpoint/            the weights before that step, as any checkpoint folder
      rank-0.safetensors     the micro-batches' tensors: `0.tokens_BT`, `0.layout.kind_BT`, …
      rank-0.json            everything else about them, and what the step saw

`vxl.train.debug.replay` reads it.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vxl.atomic import write_text
from vxl.data.batch.collate import Batch
from vxl.data.batch.encoded import BatchedVisual
from vxl.data.sample import BadSample
from vxl.errors import CheckpointError
from vxl.sequence.layout import Layout

FOLDER, CHECKPOINT = "diverged", "checkpoint"


def folder_of(run: Path, step: int) -> Path:
    """Where the failure of a step is kept."""
    return run / FOLDER / f"step-{step:06d}"


def latest(run: Path) -> Path:
    """The last failure that a run has kept.

    Raises:
        CheckpointError: It has kept none.
    """
    folders = sorted(path for path in (run / FOLDER).glob("step-*") if list(path.glob("rank-*.json")))
    if not folders:
        raise CheckpointError(
            f"{run} has no {FOLDER}/step-000123/: its loss and gradients were numbers all along.\n"
            "  debug=replay reruns what stopped a run with a DivergedError:  name=NAME debug=replay"
        )
    return folders[-1]


def write_batches(folder: Path, rank: int, batches: list[Batch], numbers: dict[str, Any]) -> None:
    """Writes one rank's micro-batches.

    Args:
        folder: The step's folder.
        rank: This process.
        batches: Its micro-batches, as the loader gave them.
        numbers: What else is to be known: step, seed, ranks, loss, grad_norm.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    rest = []
    for i, batch in enumerate(batches):
        plain: dict[str, Any] = {}
        for field in dataclasses.fields(batch):
            value = getattr(batch, field.name)
            if isinstance(value, Tensor):
                tensors[f"{i}.{field.name}"] = value.contiguous().cpu().clone()
            elif isinstance(value, Layout):
                for name, part in vars(value).items():
                    tensors[f"{i}.{field.name}.{name}"] = part.contiguous().cpu().clone()
            else:
                plain[field.name] = value
        rest.append(plain)
    save_file(tensors, folder / f"rank-{rank}.safetensors")
    text = json.dumps({**numbers, "batches": rest}, indent=1, default=_plain)
    write_text(folder / f"rank-{rank}.json", text + "\n")


def read_batches(folder: Path) -> list[tuple[dict[str, Any], list[Batch]]]:
    """(what the step saw, its micro-batches) of every rank that wrote.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    ranks = []
    for file in sorted(folder.glob("rank-*.json"), key=lambda path: int(path.stem[5:])):
        try:
            record = json.loads(file.read_text())
            with safe_open(str(file.with_suffix(".safetensors")), "pt") as reader:
                tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
            batches = [_batch(i, plain, tensors) for i, plain in enumerate(record.pop("batches"))]
        except (
            *(OSError, ValueError, RuntimeError, SafetensorError),
            *(KeyError, TypeError, AttributeError),
        ) as error:
            raise CheckpointError(f"{file.with_suffix('.*')} can't be read: {error}") from error
        ranks.append((record, batches))
    return ranks


def _batch(i: int, plain: dict[str, Any], tensors: dict[str, Tensor]) -> Batch:
    head = f"{i}."
    own = {name.removeprefix(head): value for name, value in tensors.items() if name.startswith(head)}
    layout = {n.removeprefix("layout."): own.pop(n) for n in list(own) if n.startswith("layout.")}
    plain["items"] = [
        BatchedVisual(*item) if isinstance(item, list) else BatchedVisual(**item) for item in plain["items"]
    ]
    plain["bad"] = [BadSample(**bad) for bad in plain["bad"]]
    plain["anchor"] = tuple(plain["anchor"])
    fields: dict[str, Any] = {**own, **plain}
    return Batch(layout=Layout(**layout), **fields)


def non_finite(batch: Batch) -> list[str]:
    """The fields of a batch that hold something that is no number."""
    fields = {**vars(batch), **vars(batch.layout)}
    return [
        name
        for name, value in fields.items()
        if isinstance(value, Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
