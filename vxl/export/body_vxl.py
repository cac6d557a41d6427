"""An exported model up to its last hidden state: vxl's own, behind the methods that transformers calls."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from vxl.data.batch.collate import Batch
from vxl.export.cache_vxl import RowCache, VxlCache
from vxl.export.configuration_vxl import VxlConfig
from vxl.export.inputs import Row, from_tensors, split
from vxl.export.settings import read_parts
from vxl.generate.asking import forked, read_questions
from vxl.generate.context import Context
from vxl.generate.length import refuse_longer
from vxl.generate.watching import layout_of, watch
from vxl.llm.cache import Cache
from vxl.model import build_model
from vxl.sequence.layout import Layout
from vxl.sequence.rows import IGNORE, PADDING

TABLE, HEAD = "llm.causal_lm.model.embed_tokens.weight", "llm.causal_lm.lm_head.weight"


class VxlPreTrainedModel(PreTrainedModel):
    """What both classes have in common."""

    config_class = VxlConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _no_split_modules = ["VideoLanguageModel"]  # noqa: RUF012 -- as transformers declares it
    _supports_sdpa = True
    _supports_attention_backend = True

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: vxl draws its parts' weights when it builds them."""


class VxlModel(VxlPreTrainedModel):
    """The model up to its last hidden state."""

    _tied_weights_keys = {f"parts.{HEAD}": f"parts.{TABLE}"}  # noqa: RUF012

    def __init__(self, config: VxlConfig) -> None:
        super().__init__(config)
        self.parts = build_model(
            read_parts(config.parts),
            device=torch.get_default_device(),
            dtype=torch.get_default_dtype(),
            pretrained=False,
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of the tokens' embeddings."""
        return self.parts.llm.causal_lm.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Another table."""
        self.parts.llm.causal_lm.set_input_embeddings(value)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: VxlCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        pixel_values_videos: Tensor | None = None,
        layout: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states after the last norm.

        Without a cache (`use_cache=False`, and in training) whole sequences go through at once, and there is
        one for each position. With one, what is shown is watched first, as `vxl ask` does, with the policy
        around every piece of it; there are hidden states for the tokens behind the last visual one, aligned
        with the end: zeros where a row has fewer than another.

        Args:
            input_ids: Tokens [B, T]; behind a cache only the new ones.
            attention_mask: 0 at padding, [B, T] (with the cache's columns in front, or not).
            position_ids: Not used: positions are the model's own affair.
            past_key_values: What came before.
            inputs_embeds: Not supported.
            use_cache: Whether a cache is wanted.
            pixel_values_videos: Frames of all visuals, uint8 [F, C, H, W], from the processor.
            layout: What each position is, [B, T, Y], from the processor (`vxl.export.inputs.WHAT`).
            **kwargs: Others of transformers.
        """
        _refuse(kwargs, inputs_embeds)
        assert input_ids is not None, "input_ids are missing"
        keeps = not self.training if use_cache is None else use_cache
        cache = _own_cache(past_key_values)
        if not keeps and not (cache and cache.fed):
            hidden_BTD = self._at_once(input_ids, attention_mask, pixel_values_videos, layout)
            return BaseModelOutputWithPast(last_hidden_state=hidden_BTD)
        cache = cache or VxlCache()
        tokens = input_ids.shape[1]
        real_BT = _real(attention_mask, input_ids)
        with torch.no_grad():
            if cache.fed:
                new_layout = None if layout is None else layout[:, -tokens:]
                hidden = self._behind(cache, input_ids, real_BT, new_layout)
            else:
                hidden = self._from_the_start(cache, input_ids, real_BT, pixel_values_videos, layout)
        cache.fed += tokens
        return BaseModelOutputWithPast(last_hidden_state=_at_the_end(hidden), past_key_values=cache)

    def _from_the_start(
        self,
        cache: VxlCache,
        tokens_BT: Tensor,
        real_BT: Tensor,
        frames_FCHW: Tensor | None,
        layout_BTY: Tensor | None,
    ) -> list[Tensor]:
        """Watches and reads each row: the hidden states behind what is watched, row by row."""
        hidden, before = [], None
        for number in range(len(tokens_BT)):
            row = self._row(number, tokens_BT, real_BT, frames_FCHW, layout_BTY)
            head, tail = split(row.encoded)
            if not tail:
                raise ValueError("nothing follows what is shown: a question is missing")
            # Beams and samples are rows of one conversation: it is watched once.
            same = before is not None and before[0] == head
            context = before[1] if same and before is not None else self._watched(head, row)
            before = head, context
            _, own = forked(context, [tail])
            self._refuse_longer(context, own, len(tail))
            hidden.append(read_questions(context, own, [tail], None)[0])
            cache.rows.append(RowCache(context, own))
        return hidden

    def _refuse_longer(self, context: Context, cache: Cache, tokens: int) -> None:
        if context.most is not None and not self.parts.policy.stays_near:
            refuse_longer(int(cache.next_B.max()) + tokens, context.most, context.frames)

    def _watched(self, head: Any, row: Row) -> Context:
        size = self.parts.compressor.frames_per_group * self.parts.prefill.groups
        streams = [iter(visual.split(size)) for visual in row.visuals]
        return watch(self.parts, head, streams, most=self.config.longest)

    def _behind(
        self, cache: VxlCache, tokens_BT: Tensor, real_BT: Tensor, layout_BTY: Tensor | None
    ) -> list[Tensor]:
        """New tokens behind the cache: one is the answer's next, several are a question of their own."""
        if len(cache.rows) != len(tokens_BT):
            raise ValueError(f"the cache has {len(cache.rows)} rows, but {len(tokens_BT)} came")
        if layout_BTY is not None and (layout_BTY[..., 2] >= 0).logical_and(real_BT).any():
            raise ValueError(
                "new visuals behind a cache: start anew, with all that is shown at the beginning"
            )
        hidden = []
        llm, policy = self.parts.llm, self.parts.policy
        for row, tokens_T, real_T in zip(cache.rows, tokens_BT, real_BT, strict=True):
            tokens_S = tokens_T[real_T].to(self.parts.device)
            if len(tokens_S) > 1:
                hidden.append(read_questions(row.context, row.cache, [tokens_S.tolist()], None)[0])
                continue
            embeds_1TD = llm.embed(tokens_S[None])
            hidden.append(llm.extend(embeds_1TD, row.cache, observe=policy.observe_answer)[0])
            policy.after_decode(row.cache)
        return hidden

    def _row(
        self,
        number: int,
        tokens_BT: Tensor,
        real_BT: Tensor,
        frames_FCHW: Tensor | None,
        layout_BTY: Tensor | None,
    ) -> Row:
        real_T = real_BT[number]
        layout_TY = None if layout_BTY is None else layout_BTY[number, real_T]
        size = self.parts.compressor.frames_per_group
        return from_tensors(tokens_BT[number, real_T], layout_TY, frames_FCHW, size)

    def _at_once(
        self,
        tokens_BT: Tensor,
        attention_mask: Tensor | None,
        frames_FCHW: Tensor | None,
        layout_BTY: Tensor | None,
    ) -> Tensor:
        """hidden_BTD of whole sequences, with gradients; zeros at padding and at dropped visual tokens."""
        real_BT = _real(attention_mask, tokens_BT)
        rows = [
            self._row(number, tokens_BT, real_BT, frames_FCHW, layout_BTY) for number in range(len(tokens_BT))
        ]
        columns = [real_T.nonzero()[:, 0] for real_T in real_BT]
        batch = _batch(rows, columns, self.parts.compressor.frames_per_group, self.parts.device)
        columns_BS, (hidden_BSD, *_) = self.parts.run(batch)
        there_BS = columns_BS != IGNORE
        hidden_BTD = hidden_BSD.new_zeros(*tokens_BT.shape, hidden_BSD.shape[2])
        row_S, _ = there_BS.nonzero(as_tuple=True)
        return hidden_BTD.index_put((row_S, columns_BS[there_BS]), hidden_BSD[there_BS])


def _refuse(kwargs: Mapping[str, Any], inputs_embeds: Tensor | None) -> None:
    """Raises for what is asked for and not given."""
    if inputs_embeds is not None:
        raise ValueError("inputs_embeds are not supported: pass input_ids")
    for name in ("output_attentions", "output_hidden_states"):
        if kwargs.get(name):
            raise ValueError(f"{name}=True is not supported: leave it out")


def _own_cache(past: Any) -> VxlCache | None:
    """The cache, if it is one of ours; an empty one of another kind counts as none.

    Raises:
        ValueError: It is of another kind, and filled.
    """
    if past is None or isinstance(past, VxlCache):
        return past
    if past.get_seq_length():
        raise ValueError(f"past_key_values is a {type(past).__name__}; this model makes its own, a VxlCache")
    return None


def _real(attention_mask: Tensor | None, tokens_BT: Tensor) -> Tensor:
    """bool [B, T]: which of the tokens are no padding."""
    if attention_mask is None:
        return torch.ones_like(tokens_BT, dtype=torch.bool)
    return attention_mask[:, -tokens_BT.shape[1] :].bool()


def _at_the_end(hidden: Sequence[Tensor]) -> Tensor:
    """hidden_BSD of rows of different lengths, aligned with the end; zeros in front."""
    longest = max(len(hidden_SD) for hidden_SD in hidden)
    return torch.stack(
        [nn.functional.pad(hidden_SD, (0, 0, longest - len(hidden_SD), 0)) for hidden_SD in hidden]
    )


def _batch(
    rows: Sequence[Row], columns: Sequence[Tensor], frames_per_group: int, device: torch.device
) -> Batch:
    """The rows as vxl trains on them, padded on the right; a token's label is the column it came from."""
    longest = max(len(row.encoded) for row in rows)

    def padded(tensors: Sequence[Tensor], value: float) -> Tensor:
        return torch.stack([nn.functional.pad(x, (0, longest - len(x)), value=value) for x in tensors]).to(
            device
        )

    layouts = [layout_of(row.encoded) for row in rows]
    names = ("kind_BT", "group_BT", "item_BT", "document_BT", "seconds_BT", "question_BT")
    layout = Layout(
        **{name: padded([getattr(each, name)[0] for each in layouts], PADDING.get(name, 0)) for name in names}
    )
    frames = [
        visual.repeat_interleave(frames_per_group, dim=0) if item.kind == "image" else visual
        for row in rows
        for item, visual in zip(row.encoded.items, row.visuals, strict=True)
    ]
    return Batch(
        tokens_BT=padded([torch.tensor(row.encoded.tokens) for row in rows], 0),
        labels_BT=padded(columns, IGNORE),
        positions_BT=padded([torch.arange(len(row.encoded)) for row in rows], 0),
        layout=layout,
        frames_FCHW=torch.cat(frames).to(device) if frames else torch.empty(0, dtype=torch.uint8),
        items=[item for row in rows for item in row.encoded.items],
        supervised=0,
        visual_tokens=int(layout.visual_BT.sum()),
        answer_at_Q=torch.empty(0, dtype=torch.int64),
        letters_Q=[],
        answer_Q=[],
        keys_Q=[],
        keys=[],
    )
