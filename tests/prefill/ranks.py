"""One of several processes that share a model: videos of different lengths, an image, text, a row each."""

import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tests.small_model import IMAGE, example, model, video
from vxl.data.batch.collate import Batch, collate
from vxl.kv.vst import VSTConfig
from vxl.model import VideoLanguageModel

ROWS = [(video(24),), (video(5),), (IMAGE,), ()]
"""12 windows, 3, 1 and none."""


def made() -> VideoLanguageModel:
    return model(kv=VSTConfig(ratio=3, groups=2)).double().train()


def row(number: int) -> Batch:
    return collate([[example(*ROWS[number], seed=number)]], pad=0)


def gradients(vlm: VideoLanguageModel) -> dict[str, Tensor]:
    """Whole gradients by name."""
    found: dict[str, Any] = {name: p.grad for name, p in vlm.named_parameters()}
    return {name: g.full_tensor() if isinstance(g, DTensor) else g for name, g in found.items()}


def main(place: str, rank: int, ranks: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{place}/meet", rank=rank, world_size=ranks)
    vlm = made()
    for block in vlm.llm.causal_lm.model.layers:
        fully_shard(block)
    fully_shard(vlm)
    for _ in range(2):  # a second step begins where the first one left the weights
        vlm.zero_grad()
        (vlm(row(rank)).loss_sum * ranks).backward()
    found = gradients(vlm)
    if rank == 0:
        torch.save(found, f"{place}/gradients.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
