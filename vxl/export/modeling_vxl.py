"""An exported model with its scores of the next token, which transformers generates with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from vxl.export.body_vxl import HEAD, TABLE, VxlModel, VxlPreTrainedModel
from vxl.export.cache_vxl import VxlCache
from vxl.export.configuration_vxl import VxlConfig
from vxl.export.processing_vxl import VxlProcessor
from vxl.llm.loss import loss_sum
from vxl.sequence.rows import IGNORE

__all__ = ["VxlForCausalLM", "VxlModel"]


class VxlForCausalLM(VxlPreTrainedModel, GenerationMixin):
    """The model with its scores of the next token."""

    _tied_weights_keys = {f"model.parts.{HEAD}": f"model.parts.{TABLE}"}  # noqa: RUF012

    def __init__(self, config: VxlConfig) -> None:
        super().__init__(config)
        self.model = VxlModel(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of the tokens' embeddings."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Another table."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The output layer."""
        return self.model.parts.llm.causal_lm.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Another output layer."""
        self.model.parts.llm.causal_lm.set_output_embeddings(new_embeddings)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: VxlCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        pixel_values_videos: Tensor | None = None,
        layout: Tensor | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Scores of the next token, for the positions that `VxlModel.forward` tells of.

        Args:
            input_ids: As there, like all that is not named here.
            attention_mask: As there.
            position_ids: As there.
            past_key_values: As there.
            inputs_embeds: As there.
            labels: Tokens to learn, not shifted, -100 where nothing is; whole sequences go through at once.
            use_cache: As there.
            pixel_values_videos: As there.
            layout: As there.
            logits_to_keep: Only of so many last positions; 0 for all.
            **kwargs: As there.
        """
        kwargs.pop("return_dict", None)
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=False if labels is not None else use_cache,
            pixel_values_videos=pixel_values_videos,
            layout=layout,
            **kwargs,
        )
        hidden_BTD = out.last_hidden_state
        llm = self.model.parts.llm
        loss = None
        if labels is not None:
            target_BT = labels[:, 1:]
            places_BT = target_BT != IGNORE
            total = loss_sum(
                llm.logits, hidden_BTD[:, :-1][places_BT], target_BT[places_BT], llm.config.loss_chunk
            )
            loss = total / places_BT.sum().clamp(min=1)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=llm.logits(hidden_BTD[:, -logits_to_keep:]),
            past_key_values=out.past_key_values,
        )

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """Not: `forward` makes a cache of its own kind."""
        return False

    # The signatures of the methods below differ between releases of transformers.
    def prepare_inputs_for_generation(self: Any, *args: Any, **kwargs: Any) -> Any:
        """What is shown goes in with the first tokens only."""
        first = kwargs.get("is_first_iteration", False)
        prepared = GenerationMixin.prepare_inputs_for_generation(self, *args, **kwargs)
        if not first:
            for name in ("pixel_values_videos", "layout"):
                prepared.pop(name, None)
        return prepared

    def _expand_inputs_for_generation(self: Any, *args: Any, **kwargs: Any) -> Any:
        """More rows of the same conversations, which look at the same frames."""
        frames_FCHW = kwargs.pop("pixel_values_videos", None)
        above: Any = super()  # a static method in some releases
        input_ids, expanded = above._expand_inputs_for_generation(*args, **kwargs)
        if frames_FCHW is not None:
            expanded["pixel_values_videos"] = frames_FCHW
        return input_ids, expanded

    @torch.no_grad()
    def chat(
        self: Any,
        video_path: Any,
        tokenizer: Any,
        question: str,
        chat_history: Sequence[Mapping[str, str]] | None = None,
        return_history: bool = True,
        max_num_frames: int | None = None,
        sample_fps: float | None = None,
        max_sample_fps: int | None = None,
        generation_config: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answers a question about a video, as the published models' method of this name.

        Args:
            video_path: A video; None for a question about none.
            tokenizer: The model's.
            question: Of any length.
            chat_history: What was said before about the same video: what an earlier call returned.
            return_history: Whether what was said is returned, too.
            max_num_frames: Most frames to look at; None as the model was trained.
            sample_fps: Frames a second to aim at; None as the model was trained.
            max_sample_fps: Frames a second that short videos may get.
            generation_config: For `generate`, such as `{"max_new_tokens": 64}`.

        Returns:
            The answer and the history, or the answer alone.
        """
        said = [*(chat_history or []), {"role": "user", "content": question}]
        shown = [] if video_path is None else [{"type": "video", "video": video_path}]
        first = {"role": "user", "content": [*shown, {"type": "text", "text": said[0]["content"]}]}
        processor = VxlProcessor(tokenizer, parts=self.config.parts)
        inputs = processor.apply_chat_template(
            [first, *said[1:]],
            tokenize=True,
            return_dict=True,
            add_generation_prompt=True,
            max_frames=max_num_frames,
            fps=sample_fps,
            max_fps=max_sample_fps,
        )
        given = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        tokens_BT = self.generate(**given, **(generation_config or {}))
        answer = tokenizer.decode(
            tokens_BT[0, given["input_ids"].shape[1] :], skip_special_tokens=True
        ).strip()
        if not return_history:
            return answer
        return answer, [*said, {"role": "assistant", "content": answer}]
