"""Kernels of attention over sequences without a past: `llm.attention=NAME` is NAME here.

Each takes rotated query [B, query heads, T, H], key and value [B, N, T, H], a scale and the step, whose
`spans` say which tokens form a document (None: every row is one, padding behind it). None makes a T x T
mask.
"""

import inspect
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor

from vxl.errors import ConfigError
from vxl.llm.attention.continuation import attend_causal
from vxl.llm.attention.step import Span, Step, runs

Backend = Callable[[Tensor, Tensor, Tensor, float | None, Step], Tensor]


def sdpa(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, step: Step) -> Tensor:
    """PyTorch's own kernels; packed documents one after the other."""
    return by_document(attend_causal, query, key, value, scaling, step)


def flash(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, step: Step) -> Tensor:
    """The flash-attn package."""
    needs_half("flash", query)
    return varied(flash_varlen, query, key, value, scaling, step)


def varlen(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, step: Step) -> Tensor:
    """PyTorch's kernel for sequences of various lengths, on CUDA: all documents in one launch."""
    if not query.is_cuda:
        raise ConfigError(
            "llm.attention=varlen runs on CUDA only; this is "
            f"{query.device}.\n  allowed here: sdpa\n  e.g.  llm.attention=sdpa"
        )
    needs_half("varlen", query)
    return varied(torch_varlen, query, key, value, scaling, step)


def flex(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, step: Step) -> Tensor:
    """PyTorch's flex_attention with a block mask; compiled on CUDA."""
    if not query.is_cuda and torch.is_grad_enabled() and query.requires_grad:
        raise ConfigError(
            f"llm.attention=flex has no backward on {query.device}.\n"
            "  allowed here: sdpa\n  e.g.  llm.attention=sdpa"
        )
    if "flex" not in step.scratch:
        step.scratch["flex"] = block_mask(query, step.spans)
    function = flex_function(query.is_cuda)
    return function(query, key, value, block_mask=step.scratch["flex"], scale=scaling, enable_gqa=True)


BACKENDS: dict[str, Backend] = {"sdpa": sdpa, "flex": flex, "varlen": varlen, "flash": flash}


def check_backend(name: str) -> None:
    """Raises ConfigError where a backend's package is not installed."""
    if name == "flash" and find_spec("flash_attn") is None:
        raise ConfigError(
            "llm.attention=flash needs the package flash-attn, which is not installed.\n"
            "  type  pip install 'vxl[flash]'  or  llm.attention=sdpa"
        )


def needs_half(name: str, query: Tensor) -> None:
    """Raises ConfigError for a precision that flash kernels do not have."""
    if query.dtype not in (torch.bfloat16, torch.float16):
        raise ConfigError(
            f"llm.attention={name} computes in bfloat16 and float16 only; this is {query.dtype}.\n"
            "  in this precision:  llm.attention=sdpa\n"
            "  in half of it:      trainer.precision=bf16-mixed"
        )


def by_document(
    function: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    step: Step,
) -> Tensor:
    """Calls a causal kernel for each document; once for the whole batch where rows are single documents."""
    if step.spans is None:
        return function(query, key, value, scaling)
    rows: list[list[Tensor]] = [[] for _ in range(len(query))]
    for span, real in runs(step.spans, *query.shape[::2]):
        part = (span.row, None, slice(None), slice(span.start, span.stop))
        rows[span.row].append(
            function(query[part], key[part], value[part], scaling) if real else torch.zeros_like(query[part])
        )
    return torch.cat([torch.cat(row, dim=2) for row in rows])


def varied(
    kernel: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    step: Step,
) -> Tensor:
    """Lays all runs of all rows end to end for a kernel that takes cumulative lengths."""
    rows, _, width, _ = query.shape
    if "cumulative" not in step.scratch:
        spans = step.spans or tuple(Span(row, 0, width) for row in range(rows))
        lengths = [span.stop - span.start for span, _ in runs(spans, rows, width)]
        bounds = torch.tensor([0, *lengths]).cumsum(0).to(query.device, torch.int32)
        step.scratch["cumulative"] = bounds, max(lengths)
    bounds, longest = step.scratch["cumulative"]
    flat = [x.transpose(1, 2).flatten(0, 1) for x in (query, key, value)]
    return kernel(*flat, bounds, longest, scaling).unflatten(0, (rows, width)).transpose(1, 2)


def torch_varlen(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scaling: float | None
) -> Tensor:
    """torch.nn.attention.varlen, whose way to say "causal" and "grouped heads" changed between releases."""
    # late: torch.nn.attention.varlen, which older releases lack
    from torch.nn.attention.varlen import varlen_attn

    accepted = inspect.signature(varlen_attn).parameters
    settings: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in accepted else {"is_causal": True}
    if "enable_gqa" in accepted:
        settings["enable_gqa"] = True
    else:
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    out = varlen_attn(query, key, value, bounds, bounds, longest, longest, scale=scaling, **settings)
    return cast(Tensor, out)


def flash_varlen(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scaling: float | None
) -> Tensor:
    """The flash-attn package's kernel."""
    kernel = import_module("flash_attn").flash_attn_varlen_func  # by name: most installations lack it
    return kernel(query, key, value, bounds, bounds, longest, longest, softmax_scale=scaling, causal=True)


def block_mask(query: Tensor, spans: tuple[Span, ...] | None) -> Any:
    """flex_attention's block mask: causal, inside documents only. Padding sees padding."""
    # late: torch.nn.attention.flex_attention imports torch._dynamo: 2 s
    from torch.nn.attention.flex_attention import create_block_mask

    rows, _, width, _ = query.shape
    document = torch.zeros(rows, width, dtype=torch.int32)
    for number, (span, _) in enumerate(runs(spans or (), rows, width) if spans else ()):
        document[span.row, span.start : span.stop] = number
    document = document.to(query.device)

    def visible(b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        return (q >= kv) & (document[b, q] == document[b, kv])

    return create_block_mask(visible, rows, None, width, width, device=str(query.device))


@cache
def flex_function(compiled: bool) -> Callable[..., Any]:
    """flex_attention, compiled or not."""
    # late: torch.nn.attention.flex_attention imports torch._dynamo: 2 s
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if compiled else flex_attention
