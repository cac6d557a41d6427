"""What the processes of a context group do: passes of a whole tiny model over batches of every kind."""

import dataclasses
from typing import Any

import torch
from torch import distributed as dist

from tests.small_model import IMAGE, example, frames, settings, video
from vxl.compressor.dts import DTSConfig
from vxl.config.compose import compose
from vxl.data.batch.collate import Batch, Example, collate
from vxl.data.sample import Question
from vxl.distributed import ContextGroup, gather_parts, sum_of_parts
from vxl.llm.decoder import DecoderConfig
from vxl.llm.lora import LoRAConfig
from vxl.model import VideoLanguageModel, build_model
from vxl.prefill.chunked import ChunkedConfig
from vxl.prune.evs import EVSConfig
from vxl.prune.visionzip import VisionZipConfig
from vxl.selector.query import QueryConfig
from vxl.train.parallel.context import context_group
from vxl.train.sizes import activation_bytes
from vxl.train.step.learner import build_learner
from vxl.train.step.micro_batch import longest_rows
from vxl.train.step.stage import StageConfig, freeze
from vxl.vision.siglip import SiglipConfig

LLM = DecoderConfig(vocab=97, width=48, mlp=64, layers=2, loss_chunk=3)
CHUNKED = ChunkedConfig(groups=2, groups_per_chunk=2, previous_chunks=1)
LEARNT = StageConfig(train=["projector", "llm"])
UPDATES = LoRAConfig(rank=2, layers=["q_proj", "v_proj", "down_proj"])


def asked(*items: Any, letter: int, seed: int = 0) -> Example:
    """A question with options; its letter is the first supervised token."""
    made = example(*items, answer=(letter, 11, 12), seed=seed)
    encoded = dataclasses.replace(made.encoded, answer_at=len(made.encoded.tokens) - 3)
    question = Question("?", ["a", "b"], "A")
    return dataclasses.replace(made, encoded=encoded, question=question, letters=(letter, 20))


def text(answer: tuple[int, ...] = (30, 31, 32)) -> Example:
    """Text alone."""
    return dataclasses.replace(example(answer=answer), frames_FCHW=frames(0))


LONG = (example(video(7), seed=1),)
ROWS: dict[str, list[list[Example]]] = {
    "one video": [list(LONG)],
    "unequal lengths": [[example(video(5), seed=2)], [example(IMAGE, answer=(13,), seed=3)], [text()]],
    "packed": [
        [example(video(2), seed=4), text(), example(video(3), IMAGE, seed=5)],
        [example(video(1), seed=6)],
    ],
    "several videos": [[example(video(3), IMAGE, video(2), answer=tuple(range(40, 52)), seed=7)]],
    "text alone": [[text()], [text((5,))]],
    "a token each": [[text((7,))]],
    "questions": [
        [asked(video(1), letter=14, seed=8), asked(letter=15)],
        [asked(video(2), letter=16, seed=9)],
    ],
}
MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "chunked": {"prefill": CHUNKED},
    "windows": {"prefill": dataclasses.replace(CHUNKED, time_rows="window", previous_chunks=0)},
    "recomputed": {
        "llm": dataclasses.replace(LLM, checkpointing=True),
        "vision": SiglipConfig(size=56, width=64, mlp=96, heads=4, layers=1, checkpointing=True),
    },
    "lora": {"llm": dataclasses.replace(LLM, lora=UPDATES, checkpointing=True), "stage": LEARNT},
    "tied": {"llm": dataclasses.replace(LLM, tied=True)},
    "pruned": {"prune": EVSConfig(keep=0.6)},
    "attended": {"prune": VisionZipConfig(keep=0.5)},
    "selected": {"selector": QueryConfig(keep=0.5), "prefill": CHUNKED},
    "ratio 4": {"compressor": DTSConfig(ratio=4)},
}
CASES = [(model, rows) for model in ("plain", "chunked") for rows in ROWS] + [
    ("windows", "packed"),
    ("windows", "one video"),
    ("recomputed", "packed"),
    ("recomputed", "one video"),
    ("lora", "unequal lengths"),
    ("tied", "text alone"),
    ("pruned", "several videos"),
    ("attended", "packed"),
    ("selected", "several videos"),
]


def batch(rows: str) -> Batch:
    """A batch by its name in ROWS."""
    return collate(ROWS[rows], pad=0, first_row=5)


def model(name: str) -> VideoLanguageModel:
    """A model in double precision by its name in MODELS, ready to train."""
    changes = {"llm": LLM, **MODELS[name]}
    stage = changes.pop("stage", StageConfig())
    built = build_model(settings(**changes), dtype=torch.float64)
    with torch.no_grad():  # a fresh model's updates and biases would be zero, and with them what they lead to
        for parameter in built.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    freeze(built, stage)
    return built.train()


def passes(ranks: int) -> list[dict[str, Any]]:
    """Of each case the loss, the scores of its questions, and every gradient, summed over the processes."""
    group = None
    if ranks > 1:
        dist.init_process_group("gloo")
        group = ContextGroup(dist.get_rank(), ranks, dist.group.WORLD)
    found = [one_pass(model(name), batch(rows), group) for name, rows in CASES]
    if ranks > 1:
        dist.destroy_process_group()
    return found


def rounded(name: str, rows: str, ranks: int, kind: torch.dtype) -> dict[str, torch.Tensor]:
    """Gradients in float64; where `kind` is bfloat16, of float32 weights under autocast (bf16-mixed)."""
    group = None
    if ranks > 1:
        dist.init_process_group("gloo")
        group = context_group(ranks)
    mixed = kind == torch.bfloat16
    built = model(name)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        found = one_pass(built.float() if mixed else built, batch(rows), group)
    if ranks > 1:
        dist.destroy_process_group()
    return {name: gradient.double() for name, gradient in found["gradients"].items()}


def tipped(name: str, rows: str, ranks: int) -> dict[str, Any]:
    """A pass in which all processes but the first would keep other tokens."""
    group, built = None, model(name)
    if ranks > 1:
        dist.init_process_group("gloo")
        group = context_group(ranks)
        if dist.get_rank():
            prune, select = built.pruner.prune, built.selector.select

            def otherwise(kept: torch.Tensor) -> torch.Tensor:
                return torch.zeros_like(kept)

            def other_prune(*given: Any) -> Any:
                result = prune(*given)
                return dataclasses.replace(result, kept_GK=otherwise(result.kept_GK))

            def other_select(*given: Any) -> Any:
                choice = select(*given)
                return dataclasses.replace(choice, kept_S=otherwise(choice.kept_S))

            built.pruner.prune, built.selector.select = other_prune, other_select  # type: ignore[method-assign]
    found = one_pass(built, batch(rows), group)
    if ranks > 1:
        dist.destroy_process_group()
    return found["numbers"]


def one_pass(built: VideoLanguageModel, rows: Batch, group: ContextGroup | None) -> dict[str, Any]:
    """Forward and backward."""
    built.llm.context = group
    output = built(rows)
    output.loss_sum.backward()
    gradients = {name: p.grad for name, p in built.named_parameters() if p.requires_grad}
    for name, gradient in gradients.items():
        assert gradient is not None or group is None, f"{name} has no gradient in one of the processes"
        if group is not None:
            dist.all_reduce(gradient)
    with torch.no_grad():
        held_out = built.eval()(rows)
    counts = {"supervised": output.supervised, "tokens": output.tokens, "pairs": output.pairs}
    numbers = {"loss": output.loss_sum.detach(), "held out": held_out.loss_sum, "scores": output.logits_QV}
    return {"counts": counts | output.numbers, "numbers": numbers, "gradients": gradients}


def held(ranks: int) -> tuple[int, int]:
    """Bytes that a pass over the longest row keeps in each process, and what is said of them beforehand."""
    words = ["model=tiny", "trainer=cpu", "data.batch=1", "data.max_tokens=1024", "video.max_frames=32"]
    if ranks > 1:
        words += ["strategy=ddp", f"trainer.devices={ranks}", f"strategy.context={ranks}"]
    config = compose("train", words)
    built = build_learner(config)
    assert isinstance(built, VideoLanguageModel)
    if ranks > 1:
        dist.init_process_group("gloo")
        built.llm.context = ContextGroup(dist.get_rank(), ranks, dist.group.WORLD)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = built(longest_rows(config, 1)).loss_sum
    del loss
    if ranks > 1:
        dist.destroy_process_group()
    weights = {parameter.untyped_storage().data_ptr() for parameter in built.parameters()}
    return sum(size for place, size in kept.items() if place not in weights), activation_bytes(config)


def groups(context: int, dtype: torch.dtype) -> dict[str, Any]:
    """What a process meets in its group: who is in it, what it gathers and sums, and the gradients of it."""
    dist.init_process_group("gloo")
    group = context_group(context)
    assert group is not None
    rank = dist.get_rank()
    own = torch.tensor([[1.0, 2.0]], dtype=dtype).mul(rank + 1).requires_grad_()
    parts = gather_parts(own, group)
    weight = torch.arange(parts.numel(), dtype=dtype).view_as(parts) + 16 * group.rank
    upstream = weight.clone()
    parts.backward(upstream)
    total = sum_of_parts(own, group)
    found = {
        "members": dist.get_process_group_ranks(group.peers),
        "place": (group.rank, group.ranks),
        "of the run": group.peers is dist.group.WORLD,
        "parts": parts.detach(),
        "gradient": own.grad,
        "left alone": bool((upstream == weight).all()),
        "sum": total.detach(),
    }
    dist.destroy_process_group()
    return found
