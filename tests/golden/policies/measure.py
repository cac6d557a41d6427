"""Every recorded policy against ours.

    python -m tests.golden.policies.measure

writes the table in README.md; test_measure.py holds every number to the tolerance.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.golden import TOLERANCE, error
from vxl.kv.criticalkv import Critical, CriticalConfig, CriticalKV, CriticalKVConfig
from vxl.kv.expected import Expected, ExpectedConfig
from vxl.kv.h2o import H2O, H2OConfig
from vxl.kv.infinipot import InfiniPot, InfiniPotConfig
from vxl.kv.keydiff import KeyDiff, KeyDiffConfig
from vxl.kv.knorm import Knorm, KnormConfig
from vxl.kv.kvzip import KVzip, KVzipConfig
from vxl.kv.lagkv import LagKV, LagKVConfig
from vxl.kv.policy import SEED
from vxl.kv.pyramid import Pyramid, PyramidConfig
from vxl.kv.quick import Quick, QuickConfig
from vxl.kv.random import Random, RandomConfig
from vxl.kv.recent import Recent, RecentConfig
from vxl.kv.scored.columns import columns_of
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import Scored
from vxl.kv.scored.window import Shared, SharedConfig
from vxl.kv.snapkv import SnapKV, SnapKVConfig
from vxl.kv.streaming import Streaming, StreamingConfig
from vxl.kv.tova import TOVA, TOVAConfig
from vxl.kv.uniform import Uniform, UniformConfig
from vxl.llm.cache import Cache
from vxl.llm.cache.codes import affine
from vxl.llm.decoder import Decoder, DecoderConfig
from vxl.prefill.full import Full, FullConfig
from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->"
FILES, KV_FILES = range(3), range(5)
MARGIN = 1e-4
"""The least gap between scores, of the median one, at which sets are the same in float32."""
WINDOW: dict[str, Any] = {"window": 16, "kernel": 5, "pooling": "mean", "at": "chunks"}


@dataclass(frozen=True, kw_only=True)
class SharedExpectedConfig(SharedConfig, ExpectedConfig):
    _target_: str = ""


class SharedExpected(Shared, Expected):
    """Heads that share a budget (Ada-KV), over expected attention."""


@dataclass(frozen=True, kw_only=True)
class SharedKeyDiffConfig(SharedConfig, KeyDiffConfig):
    _target_: str = ""


class SharedKeyDiff(Shared, KeyDiff):
    """Heads that share a budget (Ada-KV), over KeyDiff."""


@dataclass(frozen=True, kw_only=True)
class CriticalExpectedConfig(CriticalConfig, ExpectedConfig):
    _target_: str = ""


class CriticalExpected(Critical, Expected):
    """The two stages of CriticalKV, over expected attention without values' norms."""

    def __init__(self, config: CriticalExpectedConfig) -> None:
        super().__init__(config)
        self.eps = 0.0  # `eps` is that of the second stage here


class Recorded(NamedTuple):
    """A policy as it was recorded."""

    policy: Callable[[Any], Scored]
    config: Callable[..., Any]
    settings: dict[str, Any]
    least: float | None = None
    """Of Ada-KV, kvpress' safeguard, which counts the observers."""
    sure: int = 0
    """Entries of each head that it counts there and that are sure here."""


ONE_PASS = {
    "streaming": Recorded(Streaming, StreamingConfig, {"compact": False}),
    "knorm": Recorded(Knorm, KnormConfig, {}),
    "keydiff": Recorded(KeyDiff, KeyDiffConfig, {}),
    "tova": Recorded(TOVA, TOVAConfig, {}),
    "expected": Recorded(Expected, ExpectedConfig, {}),
    "expected_plain": Recorded(
        Expected, ExpectedConfig, {"future": 64, "sinks": 2, "covariance": False, "vnorm": False}
    ),
    "expected_eps": Recorded(Expected, ExpectedConfig, {"future": 128, "eps": 0.01}),
    "snapkv": Recorded(SnapKV, SnapKVConfig, WINDOW),
    "adakv_snapkv": Recorded(SnapKV, SnapKVConfig, WINDOW | {"adaptive": True}, 0.2, 16),
    "adakv_expected": Recorded(SharedExpected, SharedExpectedConfig, {"adaptive": True}, 0.2, 4),
    "adakv_keydiff": Recorded(SharedKeyDiff, SharedKeyDiffConfig, {"adaptive": True}, 0.325),
    "h2o_mean": Recorded(H2O, H2OConfig, {"average": True, "recent": 0.0}),
    "pyramid20": Recorded(Pyramid, PyramidConfig, WINDOW | {"window": 8}),
    "pyramid2": Recorded(Pyramid, PyramidConfig, WINDOW | {"window": 8, "beta": 2.0}),
    "criticalkv_snapkv": Recorded(CriticalKV, CriticalKVConfig, WINDOW),
    "criticalada_snapkv": Recorded(CriticalKV, CriticalKVConfig, WINDOW | {"adaptive": True}, 0.2, 16),
    "criticalkv_expected": Recorded(CriticalExpected, CriticalExpectedConfig, {"vnorm": False}),
}
RUNNING: dict[str, tuple[Callable[[Any], Scored], Callable[..., Any], dict[str, Any]]] = {
    "recent": (Recent, RecentConfig, {}),
    "uniform": (Uniform, UniformConfig, {}),
    "random": (Random, RandomConfig, {}),
    "knorm": (Knorm, KnormConfig, {}),
    "quick": (Quick, QuickConfig, {}),
    "keydiff": (KeyDiff, KeyDiffConfig, {}),
    "tova": (TOVA, TOVAConfig, {}),
    "h2o": (H2O, H2OConfig, {}),
    "expected": (Expected, ExpectedConfig, {"future": 64}),
    "infinipot": (InfiniPot, InfiniPotConfig, {}),
}
LAGS = {"lagkv": {"lag": 16}, "lagkv_cross": {"lag": 16, "cross": True}, "lagkv_short": {"lag": 128}}
ZIPPED: dict[str, dict[str, Any]] = {
    "kvzip": {},
    "kvzip_chunks": {"stretch": 40},
    "kvzip_layerwise": {"layerwise": True},
    "kvzip_plus": {"plus": True},
}
CLOSED: dict[str, tuple[Callable[[Any], Scored], Callable[..., Any]]] = {
    "knorm_closed": (Knorm, KnormConfig),
    "streaming_closed": (Streaming, StreamingConfig),
}
SCORED = ("knorm", "keydiff", "tova", "expected", "expected_plain", "expected_eps", "snapkv", "h2o_mean")
"""Those whose recorded scores are the score itself, and not one that stages or shares have changed."""


class Errors(NamedTuple):
    """What was measured of one policy."""

    scores: float = 0.0
    sets: int = 0
    """Kept sets compared."""
    unlike: int = 0
    """Entries that differ in them."""
    logits: float = 0.0

    def __or__(self, other: "Errors") -> "Errors":  # ty: ignore[invalid-method-override]
        return Errors(
            max(self.scores, other.scores),
            self.sets + other.sets,
            self.unlike + other.unlike,
            max(self.logits, other.logits),
        )


@cache
def found(file: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{file}.safetensors")


@cache
def margins() -> dict[str, dict[str, float]]:
    return json.loads((FOLDER / "margins.json").read_text())


@cache
def recorded_llm(number: int, dtype: torch.dtype) -> Decoder:
    """The language model that was recorded with."""
    sizes: dict[str, Any] = {"vocab": 256, "width": 64, "mlp": 128, "layers": 2, "heads": 4, "kv_heads": 2}
    llm = Decoder(DecoderConfig(model_type="qwen2", head_width=16, **sizes)).to(dtype).eval()
    weights = {n[2:]: x.to(dtype) for n, x in found(f"kv_{number}").items() if n.startswith("w.")}
    llm.causal_lm.load_state_dict(weights)
    return llm


def held_mask(cache: Cache, columns: int) -> Tensor:
    """Which columns each head holds, [L, N, columns]."""
    masks = []
    for layer in range(len(cache.layers)):
        valid_NS = cache.valid(layer)[0].expand(2, -1)
        index_NS = cache.index(layer)[0].expand(2, -1)
        mask_NF = torch.zeros(2, columns + 1, dtype=torch.bool)
        masks.append(mask_NF.scatter(1, index_NS.where(valid_NS, columns), value=True)[:, :columns])
    return torch.stack(masks)


def one_pass(name: str, dtype: torch.dtype) -> Errors:
    """One full prefill, two budgets: scores, kept sets, and logits of three tokens behind."""
    made, errors = ONE_PASS[name], Errors()
    for number in KV_FILES:
        known, llm = found(f"kv_{number}"), recorded_llm(number, dtype)
        ids = known["ids"][None]
        tokens = ids.shape[1]
        for percent in (50, 25):
            count = max(1, tokens * percent // 100)
            budget = {"keep": percent / 100} if "pyramid" in name else {"keep": None, "tokens": count}
            protect = {} if name == "streaming" else {"protect": "none"}
            settings = made.settings | budget | protect
            if made.least is not None:
                least = max(0, int(count * made.least) - made.sure) / (count - made.sure)
                settings |= {"least": least + 1e-9}
            policy, cache = made.policy(made.config(**settings)), llm.new_cache()
            policy.equip(llm)
            scores = watched_scores(policy)
            Full(FullConfig()).feed(llm, policy, cache, Piece(llm.embed(ids), Layout.text(1, tokens)))
            if (
                dtype == torch.float64
                or margins()[f"kv_{number}.safetensors"].get(f"{name}.{percent}", 1) > MARGIN
            ):
                unlike = int((held_mask(cache, tokens) != known[f"{name}.{percent}.kept"].bool()).sum())
                errors |= Errors(sets=4, unlike=unlike)
            if name in SCORED:
                errors |= Errors(scores=score_error(name, scores, known[f"{name}.scores"]))
            if percent == 50:
                steps = [llm.extend(llm.embed(torch.tensor([[token]])), cache) for token in (7, 11, 12)]
                logits = llm.logits(torch.cat(steps, dim=1))[0]
                errors |= Errors(logits=error(logits, known[f"{name}.50.steps"]))
    return errors


def watched_scores(policy: Scored) -> dict[int, Tensor]:
    """What the policy's scores will have been, by layer; of sure entries nan."""
    scores: dict[int, Tensor] = {}
    original = policy.score

    def score(held: Entries) -> Tensor:
        score_BNS = original(held)
        sure_BNS = policy.sure(held)
        sure_BNS = torch.zeros_like(score_BNS, dtype=torch.bool) if sure_BNS is None else sure_BNS
        each = score_BNS.masked_fill(sure_BNS, torch.nan).split(held.cache.rows)
        scores.update(zip(held.layers, each, strict=True))
        return score_BNS

    policy.score = score  # ty: ignore[invalid-assignment]
    return scores


def score_error(name: str, scores: dict[int, Tensor], recorded_LNS: Tensor) -> float:
    ours = torch.stack([scores[layer][0].expand(2, -1) for layer in sorted(scores)])
    there = ~ours.isnan()
    assert bool(there.any()), name
    return error(ours[there], recorded_LNS[there])


def running(name: str, dtype: torch.dtype) -> Errors:
    """Four pieces under a running budget, and a question."""
    policy_of, config_of, settings = RUNNING[name]
    errors = Errors()
    for number in FILES:
        known, llm = found(f"running_{number}"), recorded_llm(number, dtype)
        embeds = llm.embed(known["ids"][None])
        text = Layout.text(1, len(known["kind"]))
        item = torch.where(known["group"] < 0, -1, 0).int()[None]
        layout = replace(text, kind_BT=known["kind"][None], group_BT=known["group"][None], item_BT=item)
        for label, budget in {"50": {"keep": 0.5}, "25": {"keep": 0.25}, "t40": {"tokens": 40}}.items():
            if f"{name}.{label}.held" not in known:
                continue
            policy = policy_of(config_of(**{"keep": None} | budget | settings))
            cache = llm.new_cache()
            cache.state[SEED] = 11
            cuts = known["cuts"].tolist()
            for piece, (start, stop) in enumerate(pairwise(cuts)):
                part = Piece(embeds[:, start:stop], layout.slice(start, stop))
                Full(FullConfig()).feed(llm, policy, cache, part)
                held = known[f"{name}.{label}.held"][piece].bool()
                unlike = int((held_mask(cache, held.shape[-1]) != held).sum())
                if dtype == torch.float64:
                    errors |= Errors(sets=4, unlike=unlike)
            if dtype == torch.float64 or not unlike:
                logits = llm.logits(llm.extend(embeds[:, cuts[-1] :], cache))[0]
                errors |= Errors(logits=error(logits, known[f"{name}.{label}.logits"]))
    return errors


def lags(name: str, dtype: torch.dtype) -> Errors:
    """LagKV's scores, whatever the budget, and what the best of them add up to."""
    errors = Errors()
    for number in KV_FILES:
        known, llm = found(f"kv_{number}"), recorded_llm(number, dtype)
        ids = known["ids"][None]
        tokens = ids.shape[1]
        policy = LagKV(LagKVConfig(keep=1.0, protect="none", **LAGS[name]))
        cache = llm.new_cache()
        Full(FullConfig()).feed(llm, policy, cache, Piece(llm.embed(ids), Layout.text(1, tokens)))
        columns, recorded = columns_of(cache), known[f"{name}.scores"]
        for percent in (50, 25):
            room_B = torch.tensor([tokens * percent // 100])
            held = [policy.entries(cache, layer, columns, room_B) for layer in range(2)]
            scores = torch.stack([policy.score(h)[0] for h in held])
            if name != "lagkv_short":  # recency there, on another scale
                errors |= Errors(scores=error(scores, recorded))
            kept = torch.stack([policy.choose(h)[0] for h in held])
            sums = (recorded * kept).sum() - (recorded * known[f"{name}.{percent}.kept"]).sum()
            errors |= Errors(sets=4, unlike=int(abs(float(sums)) > 1e-4))
    return errors


def zipped(name: str, dtype: torch.dtype) -> Errors:
    """KVzip's scores and sets, of a model that repeats what it watched."""
    errors = Errors()
    words: dict[str, Any] = {"first": [11, 12, 13, 14], "later": [21, 22, 23, 24, 25], "suffix": [3]}
    for number in KV_FILES:
        known, llm = found(f"kv_{number}"), recorded_llm(number, dtype)
        ids = known["ids"][None]
        tokens = ids.shape[1]
        for percent in (50, 25):
            config = KVzipConfig(keep=percent / 100, protect="none", **words, **ZIPPED[name])
            policy, cache = KVzip(config), llm.new_cache()
            policy.equip(llm)
            Full(FullConfig()).feed(llm, policy, cache, Piece(llm.embed(ids), Layout.text(1, tokens)))
            columns = columns_of(cache)
            rooms = policy.rooms(cache, columns, cache.fed)
            held = [policy.entries(cache, layer, columns, room_B) for layer, room_B in enumerate(rooms)]
            scores = torch.cat(policy.repeated(cache, columns, held))
            errors |= Errors(scores=error(scores, known[f"{name}.scores"]))
            policy.after_watch(cache)
            if dtype == torch.float64:
                unlike = int((held_mask(cache, tokens) != known[f"{name}.{percent}.kept"].bool()).sum())
                errors |= Errors(sets=4, unlike=unlike)
    return errors


def closed(name: str, dtype: torch.dtype) -> Errors:
    """Positions that count what stayed (kvpress' KeyRerotationPress): sets, rotated keys and logits."""
    policy_of, config_of = CLOSED[name]
    errors = Errors()
    for number in KV_FILES:
        known, llm = found(f"kv_{number}"), recorded_llm(number, dtype)
        ids = known["ids"][None]
        protect = {} if policy_of is Streaming else {"protect": "none"}
        policy = policy_of(config_of(keep=None, tokens=ids.shape[1] // 2, compact=True, **protect))
        cache = llm.new_cache()
        Full(FullConfig()).feed(llm, policy, cache, Piece(llm.embed(ids), Layout.text(1, ids.shape[1])))
        # Only distances count: where ours stand further on, the recorded ones are turned as far.
        stand = cache.positions(0).expand(1, 2, -1)[0]
        moved = stand - torch.arange(stand.shape[1])
        theirs = torch.stack([cache.rotary.turn(x.to(dtype), moved) for x in known[f"{name}.50.keys"]])
        keys = torch.cat([blocks[0].rotated(cache.rotary) for blocks in cache.layers])
        kept = known[f"{name.removesuffix('_closed')}.50.kept"].bool()
        unlike = int((held_mask(cache, ids.shape[1]) != kept).sum())
        errors |= Errors(scores=error(keys, theirs), sets=4, unlike=unlike)
        steps = [llm.extend(llm.embed(torch.tensor([[token]])), cache) for token in (7, 11, 12)]
        errors |= Errors(logits=error(llm.logits(torch.cat(steps, dim=1))[0], known[f"{name}.50.steps"]))
    return errors


def coded(bits: int) -> Errors:
    """KIVI's codes, scales and lowest values, of keys in runs of entries and values in groups of channels."""
    errors = Errors()
    for number in FILES:
        known = found(f"authors_{number}")
        for part, axis, size in (("key", 1, 32), ("value", 2, 16)):
            ours = affine(known[f"kivi.{part}s"].unflatten(axis, (-1, size)), dim=axis + 1, bits=bits)
            theirs = [known[f"kivi.{part}{bits}.{name}"] for name in ("code", "scale", "low")]
            errors |= Errors(sets=1, unlike=int((ours[0].flatten() != theirs[0].flatten()).sum()))
            for a, b in zip(ours[1:], theirs[1:], strict=True):
                errors |= Errors(scores=error(a.reshape(b.shape), b))
    return errors


MEASURED: dict[str, Callable[[torch.dtype], Errors]] = {
    **{name: lambda dtype, name=name: one_pass(name, dtype) for name in ONE_PASS},
    **{name: lambda dtype, name=name: lags(name, dtype) for name in LAGS},
    **{name: lambda dtype, name=name: zipped(name, dtype) for name in ZIPPED},
    **{name: lambda dtype, name=name: closed(name, dtype) for name in CLOSED},
    **{f"kivi, {bits} bits": lambda dtype, bits=bits: coded(bits) for bits in (8, 4, 2)},
    **{f"running {name}": lambda dtype, name=name: running(name, dtype) for name in RUNNING},
}


@torch.no_grad()
def measure(name: str, dtype: torch.dtype) -> Errors:
    return MEASURED[name](dtype)


def lines() -> Iterator[str]:
    """The table."""
    yield "| policy | scores, float64 | float32 | logits, float64 | float32 | sets compared |"
    yield "|---|---|---|---|---|---|"
    for name in MEASURED:
        double, single = (measure(name, dtype) for dtype in TOLERANCE)
        shown = [
            f"{x:.1e}".replace("e-0", "e-") if x else ""
            for pair in zip(double, single, strict=True)
            for x in pair
        ]
        yield f"| {name} | {shown[0]} | {shown[1]} | {shown[6]} | {shown[7]} | {double.sets + single.sets} |"


def listed() -> dict[str, list[str]]:
    """{policy: its cells} of the table in README.md."""
    table = README.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {cells[0]: cells[1:] for cells in rows}


if __name__ == "__main__":
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(before + BEGIN + "\n".join(lines()) + "\n" + END + rest.partition(END)[2])
