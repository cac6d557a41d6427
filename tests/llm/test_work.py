"""Operations of passes, against torch's own counter and against passes of single tokens.

SDPA runs as products of matrices here: torch's counter does not know its kernel for CPUs.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.kv.test_policies import policy
from tests.small_model import PARTS, frames, head, model, video
from vxl.compressor.dts import DTSConfig
from vxl.generate import ask, watch
from vxl.kv.snapkv import SnapKVConfig
from vxl.kv.tova import TOVAConfig
from vxl.kv.vst import VSTConfig
from vxl.llm.attention.windows import Sight, Sliding, Window, Windows
from vxl.llm.decoder import Decoder
from vxl.llm.work import Work
from vxl.prefill.chunked import ChunkedConfig
from vxl.prune.uniform import UniformConfig

CHUNKED = ChunkedConfig(groups=2, groups_per_chunk=1, previous_chunks=1)


def measured(**changes: Any) -> tuple[float, dict[str, float]]:
    """(operations of watching 12 groups and asking, what torch counted in the language model by kind)."""
    built = model(compressor=DTSConfig(ratio=16), **changes)
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), Work(built.llm) as work, counter:
        context = watch(built, head(video(12), tokens=4), [frames(48)])
        ask(context, [5, 6], max_new_tokens=3, on_token=lambda *_: work.stop())
    counted = counter.get_flop_counts()["Decoder"]
    linear = sum(n for kind, n in counted.items() if "bmm" not in str(kind) and "attention" not in str(kind))
    return work.operations, {"linear": float(linear), "all": float(sum(counted.values()))}


def decoded(built: Decoder, tokens: int) -> float:
    """Linear operations of tokens that torch counted and `Work` did not, as they came after the first."""
    return Work(built).per_token * tokens


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prefill": CHUNKED},
        {"kv": SnapKVConfig(keep=0.5)},
        {"kv": TOVAConfig(keep=0.5), "prefill": CHUNKED},
        {"kv": VSTConfig(ratio=2)},
        {"prune": UniformConfig(keep=0.5)},
        {"kv": policy("rekv", keep=0.5)},
        {"kv": policy("kvzip", keep=0.5)},
    ],
    ids=[
        "full",
        "chunked",
        "at the question",
        "dropped in chunks",
        "vst",
        "pruned",
        "by queries",
        "replayed",
    ],
)
def test_products_with_weights_are_those_that_torch_counts(changes: dict[str, Any]) -> None:
    built = model(compressor=DTSConfig(ratio=16), **changes).llm
    operations, counted = measured(**changes)
    after_first = decoded(built, 2)
    work = Work(built)
    pairs = (operations - (counted["linear"] - after_first)) / work.per_pair
    assert pairs == pytest.approx(
        round(pairs), abs=0.51
    )  # what is left is whole pairs (a mean over two heads)
    assert pairs > 0
    # Kernels count masked pairs of causal blocks too, so theirs are more: never fewer, and not twice as many.
    kernels = (counted["all"] - counted["linear"]) / work.per_pair
    assert pairs <= kernels


def test_chunks_pruning_and_dropping_need_fewer() -> None:
    full = measured()[0]
    for changes in (
        {"prefill": CHUNKED},
        {"kv": TOVAConfig(keep=0.5)},
        {"prune": UniformConfig(keep=0.5)},
    ):
        assert measured(**changes)[0] < 0.999 * full, changes


def decoder() -> Decoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Decoder(PARTS.llm).eval()


def windows(first: int, tokens: int) -> Windows:
    """Each token sees three columns, its own included, and of the others every fourth."""
    sights = tuple(Sight(np.array([n]), max(0, first + n - 2)) for n in range(tokens))
    return Windows((Window(sights, np.arange(0, first + tokens, 4)),), first)


@torch.no_grad()
def test_a_sliding_window_counts_what_is_in_it_and_the_first_text() -> None:
    llm = decoder()
    cache = llm.new_cache()
    with Work(llm) as work:
        for tokens in (6, 11):
            llm.extend(torch.randn(1, tokens, llm.width), cache, sliding=Sliding(4, (3,)))
    pairs = sum(t - s < 4 or s < 3 for t in range(17) for s in range(t + 1))
    assert work.operations == 17 * work.per_token + llm.layers * work.per_pair * pairs


@torch.no_grad()
@pytest.mark.parametrize("limited", [False, True])
def test_pairs_do_not_depend_on_how_a_sequence_is_cut_into_passes(limited: bool) -> None:
    """Of a pass of one token torch counts exactly the keys that it sees, since no mask is needed."""
    llm, tokens = decoder(), 13
    embeds_1TD = torch.randn(1, tokens, llm.width)
    found = []
    for size in (13, 5, 1):
        cache = llm.new_cache()
        counter = FlopCounterMode(display=False)
        with sdpa_kernel(SDPBackend.MATH), Work(llm) as work, counter:
            for first in range(0, tokens, size):
                part = embeds_1TD[:, first : first + size]
                seen = windows(first, part.shape[1]) if limited else None
                llm.extend(part, cache, windows=seen)
        found.append(work.operations)
    assert found[0] == found[1] == found[2]
    settings = llm.causal_lm.config
    # transformers up to 5.17 makes the angles of rotations by a product, which torch counts.
    angles = tokens * (getattr(settings, "head_dim", None) or llm.width // settings.num_attention_heads)
    assert counter.get_total_flops() - found[0] in (0, angles)


@torch.no_grad()
def test_entries_that_heads_do_not_share_count_as_their_mean() -> None:
    llm = decoder()
    cache = llm.new_cache()
    llm.extend(torch.randn(1, 8, llm.width), cache)
    keep_BNS = torch.ones(1, 2, 8, dtype=torch.bool)
    keep_BNS[0, 0, 2:] = False
    keep_BNS[0, 1, 5:] = False
    cache.keep(keep_BNS)
    with Work(llm) as work:
        llm.extend(torch.randn(1, 1, llm.width), cache)
    assert work.operations == work.per_token + llm.layers * work.per_pair * ((2 + 5) / 2 + 1)


@torch.no_grad()
def test_entries_that_heads_do_not_share_count_where_a_token_sees_them() -> None:
    """Of columns 0 and 1 and of 0 to 4 a token at column 8 sees every fourth: 0, and 0 and 4."""
    llm = decoder()
    cache = llm.new_cache()
    llm.extend(torch.randn(1, 8, llm.width), cache)
    keep_BNS = torch.ones(1, 2, 8, dtype=torch.bool)
    keep_BNS[0, 0, 2:] = False
    keep_BNS[0, 1, 5:] = False
    cache.keep(keep_BNS)
    with Work(llm) as work:
        llm.extend(torch.randn(1, 1, llm.width), cache, windows=windows(8, 1))
    assert work.operations == work.per_token + llm.layers * work.per_pair * ((1 + 2) / 2 + 1)


def test_a_beacon_counts_queries_keys_and_values_of_its_own() -> None:
    """Two layers that are 48 wide: 48 queries, 24 keys and 24 values, beside those of every token."""
    plain, with_beacons = (
        Work(model(compressor=DTSConfig(ratio=16), **kv).llm) for kv in ({}, {"kv": VSTConfig(ratio=2)})
    )
    assert with_beacons.per_beacon == 2 * 2 * 48 * (48 + 24 + 24)
    assert plain.per_beacon == 0
    assert with_beacons.per_token == plain.per_token


def test_heads_may_be_wider_than_the_model() -> None:
    narrow, wide = (Work(Decoder(replace(PARTS.llm, head_width=width))) for width in (None, 32))
    assert wide.per_pair != narrow.per_pair
