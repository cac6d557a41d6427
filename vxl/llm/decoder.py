"""The language model: any decoder of transformers, run through vxl's attention and cache."""

from collections.abc import Collection, Sequence
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from vxl.distributed import ContextGroup
from vxl.errors import CheckpointError, ConfigError
from vxl.llm import fused
from vxl.llm.attention.backends import check_backend
from vxl.llm.attention.function import NAME, register_attention
from vxl.llm.attention.split import split_of
from vxl.llm.attention.step import Slots, Step, documents
from vxl.llm.attention.windows import Sliding, Windows
from vxl.llm.beacon import Letter, give_beacons, is_of_beacon, with_beacons
from vxl.llm.cache import Cache
from vxl.llm.cache.host import past_of
from vxl.llm.config import DecoderConfig, hugging_face_config, unreadable_weights
from vxl.llm.kernels import usable
from vxl.llm.lora import LoRALinear, adapt, is_update, merged_weight
from vxl.llm.rope import Rotary, check_layout
from vxl.sequence.layout import Layout
from vxl.weights.fp8 import hold_in_fp8


class Decoder(nn.Module):
    """A causal language model without its tokens: embeddings in, hidden states out.

    Args:
        config: The settings.
        vocab_size: Tokens of the tokenizer, to check against the embedding table; None = do not check.

    Attributes:
        context: The processes that share each sequence in training (`strategy.context`); None: no others.

    Raises:
        ConfigError: The architecture is unknown, or its attention or positions are not supported.
        CheckpointError: `weights` names a checkpoint that is not there.
    """

    def __init__(self, config: DecoderConfig, *, vocab_size: int | None = None) -> None:
        super().__init__()
        from transformers import AutoModelForCausalLM  # late: transformers takes a second

        check_backend(config.attention)
        register_attention()
        self.config = config
        self.backend = config.attention
        self.context: ContextGroup | None = None
        self.beacon: nn.Parameter | None
        self.register_parameter("beacon", None)
        architecture = hugging_face_config(config)
        self.rotary = Rotary(architecture)
        self.causal_lm = AutoModelForCausalLM.from_config(
            architecture, attn_implementation=NAME, dtype=torch.get_default_dtype()
        )
        check_layout(self.causal_lm, self.rotary)
        self.width: int = architecture.hidden_size
        self.layers: int = architecture.num_hidden_layers
        self.vocab: int = architecture.vocab_size
        self.max_positions: int = architecture.max_position_embeddings
        if vocab_size is not None and vocab_size > self.vocab:
            raise ConfigError(
                f"the tokenizer has {vocab_size} tokens, the language model {self.vocab} embeddings.\n"
                f"  e.g.  llm.vocab={-(-vocab_size // 64) * 64}  (with llm.weights=random)"
            )
        adapt(self.causal_lm.model, config.lora)
        fused.give_layers(self.causal_lm.model)
        if config.checkpointing:
            self.checkpoint_activations(True)

    def load_pretrained(self) -> None:
        """Fills the model from the checkpoint `config.weights`; with `random` it stays as it was initialised.

        Raises:
            CheckpointError: The checkpoint is absent or lacks a tensor.
        """
        if self.config.weights == "random":
            return

        from transformers import AutoModelForCausalLM  # late: transformers takes a second

        try:
            result: Any = AutoModelForCausalLM.from_pretrained(
                self.config.weights, dtype="auto", output_loading_info=True, trust_remote_code=False
            )
        except (OSError, ValueError, RuntimeError, UnpicklingError, SafetensorError) as error:
            raise unreadable_weights(self.config.weights, error) from error
        pretrained, report = result
        if report["missing_keys"]:
            raise CheckpointError(
                f"llm.weights={self.config.weights} lacks {len(report['missing_keys'])} tensors: "
                f"{', '.join(sorted(report['missing_keys'])[:4])}"
            )
        mine = self.causal_lm.state_dict()
        own = {name: value for name, value in mine.items() if is_update(name) or is_of_beacon(name)}
        self.causal_lm.load_state_dict(pretrained.state_dict() | own)
        self.start_beacons()

    def add_beacons(self, letters: Sequence[Letter], token: int | None = None) -> None:
        """Gives the model a beacon: an embedding [1, D], and projections in every block (vxl.llm.beacon).

        Args:
            letters: Which projections: q, k, v, o, mlp.
            token: Whose embedding the beacon starts from; None = the end token, or the first one where the
                model names none.

        Raises:
            ConfigError: The blocks have no such projections, or there is no such token.
        """
        if token is not None and not 0 <= token < self.vocab:
            raise ConfigError(
                f"token={token} is none of the language model's.\n  allowed: 0 to {self.vocab - 1}"
            )
        end_token = self.causal_lm.config.eos_token_id if token is None else token
        first = end_token[0] if isinstance(end_token, list) else end_token
        self.beacon_token = 0 if first is None else int(first)
        self.beacon = nn.Parameter(torch.empty_like(self.causal_lm.get_input_embeddings().weight[:1]))
        give_beacons(self.causal_lm.model, letters)
        self.start_beacons()

    def start_beacons(self, names: Collection[str] | None = None) -> None:
        """Makes the beacons' weights copies of the ordinary ones, and the beacon that of its token.

        Args:
            names: Only these parameters, as this module names them; None = all.
        """
        if self.beacon is None or self.beacon.is_meta:
            return
        if names is None or "beacon" in names:
            with torch.no_grad():
                table = self.causal_lm.get_input_embeddings().weight
                self.beacon.copy_(table[self.beacon_token : self.beacon_token + 1])
        for name, layer, beacon in with_beacons(self):
            if names is None or f"{name}.beacon.weight" in names:
                beacon.start_from(layer)

    def checkpoint_activations(self, on: bool) -> None:
        """Switches recomputation of blocks in the backward pass (their share of them); no number changes."""
        if hasattr(self.causal_lm, "activation_checkpointing_enable"):  # the name in newer releases
            enable, disable = "activation_checkpointing_enable", "activation_checkpointing_disable"
        else:
            enable, disable = "gradient_checkpointing_enable", "gradient_checkpointing_disable"
        if on:
            getattr(self.causal_lm, enable)({"use_reentrant": False})
            # The last ones give their memory back first, before all gradients are there.
            for layer in self.causal_lm.model.layers[round(self.config.recomputed_share * self.layers) :]:
                layer.gradient_checkpointing = False
        else:
            getattr(self.causal_lm, disable)()

    def to_fp8(self) -> None:
        """Makes the blocks' linear layers what `config.fp8` says; once they have their weights."""

        def whole(layer: nn.Linear) -> Tensor:
            if isinstance(layer, LoRALinear):
                return merged_weight(layer.weight, layer.lora_A, layer.lora_B, layer.scale)
            return layer.weight

        if self.config.fp8:
            emulated = self.config.fp8 == "emulated"
            hold_in_fp8(self.blocks, "llm.fp8", emulated, (nn.Linear, LoRALinear), whole)

    def reset_buffers(self) -> None:
        """Makes the non-persistent buffers anew, which a model that was built on the meta device has lost."""
        body = self.causal_lm.model
        device = next(self.parameters()).device
        body.rotary_emb = type(body.rotary_emb)(config=self.causal_lm.config).to(device)

    def new_cache(self, rows: int = 1, *, memo: bool | None = None) -> Cache:
        """An empty cache for a batch of `rows` sequences; see `Cache` for `memo`, None = where no kernel
        rotates keys while it reads them."""
        weight = self.causal_lm.get_input_embeddings().weight
        memo = not usable(weight.detach()) if memo is None else memo
        return Cache(self.layers, self.rotary, weight.device, rows=rows, memo=memo)

    def step(
        self,
        positions_BT: Tensor | None = None,
        *,
        document_BT: Tensor | None = None,
        cache: Cache | None = None,
        tokens: int | None = None,
        valid_BT: Tensor | None = None,
        windows: Windows | None = None,
        sliding: Sliding | None = None,
        beacons: Tensor | None = None,
        observe: int = 0,
    ) -> Step:
        """Describes one pass of new tokens.

        Args:
            positions_BT: Rotary positions; with a cache they may be left out: on from where it is.
            document_BT: Without a cache: documents of each row, -1 at padding; they do not see each other.
            cache: What came before; `cache.append(step)` after the pass.
            tokens: With a cache and without positions: how many tokens come.
            valid_BT: With a cache: real tokens, padding on the right.
            windows: What tokens see of what came before them; None = all of it.
            sliding: With a cache: the window that tokens see beside the first text; None = none.
            beacons: Which tokens are beacons, see `Step`.
            observe: Of how many tokens at each row's end the queries are left in the step.
        """
        if positions_BT is None:
            assert cache is not None, "without a cache positions must be given"
            assert tokens is not None, "positions, or a number of tokens"
            positions_BT = cache.next_B[:, None] + torch.arange(tokens, device=cache.next_B.device)
        if valid_BT is not None and bool(valid_BT.all()):
            valid_BT = None
        split = split_of(self.context, positions_BT.shape[1], cached=cache is not None)
        positions_BT = positions_BT if split is None else split.own(positions_BT)
        cos_BTH, sin_BTH = self.rotary.angles(positions_BT, torch.float32)
        return Step(
            positions_BT=positions_BT,
            rotary=self.rotary,
            cos_BTH=cos_BTH,
            sin_BTH=sin_BTH,
            backend=self.backend,
            spans=None if document_BT is None else documents(document_BT),
            past=None if cache is None else past_of(cache.layers),
            valid_BT=valid_BT,
            windows=windows,
            sliding=sliding,
            memo=cache is None or cache.memo,
            beacons=beacons,
            new=None if cache is None else Slots(self.layers),
            observed_BQ=last_columns(positions_BT, valid_BT, observe) if observe else None,
            queries=[None] * self.layers if observe else None,
            split=split,
        )

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks that a token passes one after the other, for sharding and compiling."""
        return list(self.causal_lm.model.layers)

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """embeds_BTD of token ids."""
        return self.causal_lm.get_input_embeddings()(tokens_BT)

    def forward(self, embeds_BTD: Tensor, step: Step) -> Tensor:
        """hidden_BTD after the final norm; the step's cache, if it has one, is not changed.

        Where the step is split, whole sequences go in, and this process's columns come out.
        """
        if step.split is not None:
            embeds_BTD = step.split.own(embeds_BTD)
        if fused.suits_body(self.causal_lm.model, embeds_BTD):
            return fused.run_body(self.causal_lm.model, embeds_BTD, step)
        at_zero = torch.zeros_like(step.positions_BT)
        out = self.causal_lm.model(inputs_embeds=embeds_BTD, position_ids=at_zero, use_cache=False, step=step)
        return out.last_hidden_state

    def extend(
        self,
        embeds_BTD: Tensor,
        cache: Cache,
        *,
        valid_BT: Tensor | None = None,
        layout: Layout | None = None,
        windows: Windows | None = None,
        sliding: Sliding | None = None,
        beacons: Tensor | None = None,
        observe: int = 0,
    ) -> Tensor:
        """Runs tokens behind what a cache has and puts them into it.

        With `observe`, the cache holds the queries of so many last tokens of every row until the next pass.

        Returns:
            hidden_BTD of the new tokens.
        """
        tokens = embeds_BTD.shape[1]
        step = self.step(
            cache=cache,
            tokens=tokens,
            valid_BT=valid_BT,
            windows=windows,
            sliding=sliding,
            beacons=beacons,
            observe=observe,
        )
        hidden_BTD = self(embeds_BTD, step)
        cache.append(step, layout)
        return hidden_BTD

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of all tokens, [..., vocabulary], from hidden states [..., D]."""
        return self.causal_lm.get_output_embeddings()(hidden)


def last_columns(positions_BT: Tensor, valid_BT: Tensor | None, count: int) -> Tensor:
    """Columns [B, Q] of the last `count` tokens of every row; negative where a row has fewer."""
    rows, tokens = positions_BT.shape
    lengths_B = positions_BT.new_full((rows,), tokens) if valid_BT is None else valid_BT.sum(dim=1)
    back_Q = torch.arange(min(count, tokens), 0, -1, device=positions_BT.device)
    return lengths_B[:, None] - back_Q
