"""The parts joined: frames and tokens in, the loss out; and how a model is built from its settings."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from vxl.compressor.base import Compressor
from vxl.data.batch.collate import Batch
from vxl.distributed import is_sharded, of_first
from vxl.errors import DataError
from vxl.kv.policy import Policy
from vxl.llm.decoder import Decoder
from vxl.llm.loss import supervised
from vxl.llm.outline import outline
from vxl.option.build import build
from vxl.parts import ModelParts, refuse_too_large
from vxl.prefill.base import Hidden, Prefill
from vxl.prefill.summarizing import around
from vxl.prune.base import Pruner, VideoTokens, refuse_with_selector
from vxl.prune.rows import prune_rows, shared_tokens
from vxl.relevance.base import Relevance
from vxl.selector.base import Selector
from vxl.selector.rows import shorten
from vxl.sequence.layout import Layout, causal_pairs
from vxl.sequence.rows import Rows, gather
from vxl.vision.base import VisionEncoder
from vxl.vision.salience import salience
from vxl.weights.initial import building


@dataclass(frozen=True, eq=False)
class TrainOutput:
    """What a batch gives. S counts its supervised tokens, row after row."""

    loss_sum: Tensor
    """Sum of the cross entropies, float32; to be divided by the `supervised` of the whole global batch."""
    supervised: int
    """S; of the whole batch, also where processes share its rows and each has some of the S."""
    hidden_SD: Tensor
    """The final hidden state at each supervised token's place."""
    logits_QV: Tensor
    """Scores of all tokens where each question's letter should come (`Batch.answer_at_Q`)."""
    labels_S: Tensor
    """The supervised tokens."""
    baseline_sum: Tensor | None = None
    """The loss_sum that knowing nothing would have, where the objective has such a measure."""
    numbers: dict[str, float] = field(default_factory=dict)
    """What the pass drew or kept, for the log: `ratio`, patches in / visual tokens the language model saw."""
    tokens: int | None = None
    """Tokens that went through the language model's layers, where they are not those of the batch: without
    dropped ones, with beacons."""
    pairs: int | None = None
    """Pairs of a token and a key that it saw there, where not every token saw all of its document before it
    in the batch."""


class VideoLanguageModel(nn.Module):
    """A video model: vision tower, compressor (with the projector), selector, language model.

    Args:
        vision: frames_FCHW -> patches_FPV.
        compressor: patches_FPV -> visual_GKD.
        pruner: Which visual tokens reach the language model, whatever the question.
        selector: Which visual tokens a question keeps.
        llm: embeds_BTD -> hidden_BTD.
        prefill: How sequences are run through the language model.
        policy: Which keys and values stay.
        relevance: Which chunks matter to a question, where the policy asks.
    """

    def __init__(
        self,
        vision: VisionEncoder,
        compressor: Compressor,
        pruner: Pruner,
        selector: Selector,
        llm: Decoder,
        prefill: Prefill,
        policy: Policy,
        relevance: Relevance,
    ) -> None:
        super().__init__()
        self.vision = vision
        self.compressor = compressor
        self.pruner = pruner
        self.selector = selector
        self.llm = llm
        self.prefill = prefill
        self.policy = policy
        self.relevance = relevance

    @property
    def device(self) -> torch.device:
        """Where the language model lives."""
        return next(self.llm.parameters()).device

    def to_fp8(self) -> None:
        """Makes tower and language model what `vision.fp8` and `llm.fp8` say, once they have weights."""
        self.vision.to_fp8()
        self.llm.to_fp8()

    def encode(self, frames_FCHW: Tensor, visuals: Sequence[int] = ()) -> Tensor:
        """visual_GKD of frames that fill whole groups; how many frames each visual has need not be said.

        Groups do not see each other, so a video may be encoded in pieces.
        """
        return self.compressor(self.vision(frames_FCHW, visuals))

    def encode_for_pruner(
        self, frames_FCHW: Tensor, visuals: Sequence[int] = ()
    ) -> tuple[VideoTokens, Tensor]:
        """Visual tokens of frames that fill whole groups, with what the tower tells of them where the pruner
        asks; and patches_FPV."""
        with salience(self.vision) if self.pruner.needs else nullcontext() as salience_of:
            patches_FPV = self.vision(frames_FCHW, visuals)
        visual_GKD = self.compressor(patches_FPV)
        if salience_of is None:
            return VideoTokens(visual_GKD), patches_FPV
        shape = self.compressor.frames_per_group, self.compressor.tokens_per_group
        return VideoTokens(visual_GKD, *salience_of.pooled(len(frames_FCHW), *shape)), patches_FPV

    def encode_shared(self, frames_FCHW: Tensor, visuals: Sequence[int]) -> VideoTokens:
        """Visual tokens of a batch, with what the pruner asks for if it drops any; processes that share rows
        share the groups, wherever a visual ends."""

        def encode(own_FCHW: Tensor, visuals: Sequence[int] = ()) -> VideoTokens:
            if not self.pruner.drops:
                return VideoTokens(self.encode(own_FCHW, visuals))
            return self.encode_for_pruner(own_FCHW, visuals)[0]

        group = self.llm.context
        if group is None:
            return encode(frames_FCHW, visuals)
        return shared_tokens(encode, frames_FCHW, self.compressor.frames_per_group, group)

    def splice(
        self, tokens_BT: Tensor, visual_GKD: Tensor | None, layout: Layout, places: int | None = None
    ) -> Tensor:
        """embeds_BTD: each token's embedding, with visual tokens in their places in row-major order.

        Args:
            tokens_BT: Token ids.
            visual_GKD: Visual tokens.
            layout: Where they go.
            places: Visual positions of the layout, if they are counted already: counting waits for a GPU.

        Raises:
            DataError: The layout has another number of visual positions than there are visual tokens.
        """
        embeds_BTD = self.llm.embed(tokens_BT)
        places = int(layout.visual_BT.sum()) if places is None else places
        tokens = 0 if visual_GKD is None else visual_GKD.shape[0] * visual_GKD.shape[1]
        if places != tokens:
            raise DataError(
                f"the sequences have {places} visual positions, but there are {tokens} visual tokens.\n"
                f"  expected: {self.compressor.tokens_per_group} positions for every "
                f"{self.compressor.frames_per_group} frames"
            )
        if visual_GKD is None or not tokens:
            return embeds_BTD
        return embeds_BTD.masked_scatter(layout.visual_BT[..., None], visual_GKD.to(embeds_BTD.dtype))

    def forward(self, batch: Batch, ratios: Sequence[int] = ()) -> TrainOutput:
        """The loss of a batch; only supervised positions go through the output layer.

        Args:
            batch: What to learn from.
            ratios: That windows of `kv=vst` draw from, in place of its own; empty for those.
        """
        labels_BT, (hidden_BTD, numbers, tokens, pairs) = self.run(batch, ratios)
        learnt = supervised(hidden_BTD, labels_BT, self.llm.context)
        hidden_SD, labels_S = learnt.hidden_SD, learnt.labels_S
        loss = learnt.loss_sum(self.llm.logits, self.llm.config.loss_chunk)
        logits_QV = hidden_SD.new_zeros(0, self.llm.vocab)
        if len(batch.answer_at_Q):
            logits_QV = self.llm.logits(learnt.at(batch.answer_at_Q)).detach()
        return TrainOutput(loss, learnt.count, hidden_SD, logits_QV, labels_S, None, numbers, tokens, pairs)

    def run(self, batch: Batch, ratios: Sequence[int] = ()) -> tuple[Tensor, Hidden]:
        """labels_BT of the tokens that went through the language model, and what it gave for them: those of
        the batch without what pruner and selector dropped, moved together."""
        shows = len(batch.frames_FCHW) > 0
        visual_GKD, kept_BT = None, None
        visuals = [item.frames for item in batch.items]
        if shows:
            visual = self.encode_shared(batch.frames_FCHW, visuals)
            visual_GKD = visual.visual_GKD
            if self.pruner.drops:
                visual_GKD, kept_BT = prune_rows(self.pruner, visual, batch.layout, batch.items)
        embeds_BTD = self.splice(batch.tokens_BT, visual_GKD, batch.layout, batch.visual_tokens)
        if not shows and (is_sharded(self) or (self.training and torch.is_grad_enabled())):
            embeds_BTD = embeds_BTD + self._nothing_seen().to(embeds_BTD.dtype)
        rows = Rows(embeds_BTD, batch.labels_BT, batch.positions_BT, batch.layout)
        numbers = {"ratio": float(self.compressor.ratio)}
        if kept_BT is not None:
            rows = gather(rows, of_first(kept_BT, self.llm.context))
        if self.selector.drops:
            rows = shorten(self.selector, rows, batch.first_row, self.llm.context)
        if kept_BT is not None or self.selector.drops:
            visual_kept = int(rows.layout.visual_BT.sum())
            numbers["ratio"] *= int(batch.layout.visual_BT.sum()) / max(1, visual_kept)
        hidden_BTD, prefill_numbers, tokens, pairs = self.prefill.forward(
            self.llm,
            self.policy,
            rows.embeds_BTD,
            rows.positions_BT,
            rows.layout,
            draw=batch.first_row,
            ratios=ratios,
        )
        if kept_BT is not None or self.selector.drops:
            tokens = int(rows.layout.real_BT.sum()) if tokens is None else tokens
            pairs = causal_pairs(rows.layout.document_BT) if pairs is None else pairs
        return rows.labels_BT, Hidden(hidden_BTD, numbers | prefill_numbers, tokens, pairs)

    def _nothing_seen(self) -> Tensor:
        """A zero that a black group leads to: in a batch of text alone it keeps every parameter in the graph
        and calls every part, as all ranks must.
        """
        unused = [self.encode(self._blank()), *self.selector.parameters()]
        return sum((0.0 * tensor.sum() for tensor in unused), torch.zeros((), device=self.device))

    def _blank(self) -> Tensor:
        """A black group."""
        size = self.vision.pixels.size
        frames = self.compressor.frames_per_group
        return torch.zeros(frames, 3, size, size, dtype=torch.uint8, device=self.device)


def build_model(
    config: ModelParts,
    *,
    vocab_size: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    seed: int | None = None,
    pretrained: bool = True,
    outlined: bool = False,
) -> VideoLanguageModel:
    """Builds a model from its settings.

    Each part is initialised from a seed of its own, so exchanging one leaves the others' weights alone.
    In float32 convolutions compute in float32 from here on: cuDNN's TF32, PyTorch's default, is switched off.

    Args:
        config: Names the parts.
        vocab_size: Tokens of the tokenizer, all of which the language model must have; None = do not check.
        device: Where it is built; `meta` for shapes without memory.
        dtype: Precision of the parameters; None = torch's default.
        seed: Of the random weights; None = `config.seed`.
        pretrained: Whether parts that name pretrained weights are filled with them.
        outlined: Whether the language model is an outline, whose parameters can be counted and that runs
            nothing; on the meta device.

    Raises:
        ConfigError: The parts do not fit each other.
        CheckpointError: Pretrained weights are absent or do not fit.
    """
    seed = config.seed if seed is None else seed
    device = torch.device(device)
    refuse_too_large(config, device, dtype)
    policy: Policy = build(config.kv)
    with building("llm", seed, device, dtype):
        llm: Decoder = (
            cast(Decoder, outline(config.llm)) if outlined else build(config.llm, vocab_size=vocab_size)
        )
        policy.equip(llm)
    with building("vision", seed, device, dtype):
        vision: VisionEncoder = build(config.vision)
    with building("compressor", seed, device, dtype):
        compressor: Compressor = build(
            config.compressor, vision_width=vision.width, grid=vision.grid, llm_width=llm.width
        )
    pruner: Pruner = build(config.prune)
    with building("selector", seed, device, dtype):
        selector: Selector = build(config.selector, llm_width=llm.width, seed=seed)
    if pretrained and device.type != "meta":
        vision.load_pretrained()
        llm.load_pretrained()
    prefill: Prefill = around(build(config.prefill), policy, seed)
    relevance: Relevance = build(config.relevance)
    relevance.equip(vision)
    refuse_with_selector(pruner, selector.drops)
    return VideoLanguageModel(vision, compressor, pruner, selector, llm, prefill, policy, relevance)
