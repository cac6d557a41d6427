"""An exported model that runs where vxl is: its classes before they are flattened."""

import json
from typing import Any

from torch import Tensor

from tests.small_model import head, model, settings
from vxl.data.batch.encoded import BatchedVisual
from vxl.export.configuration_vxl import VxlConfig
from vxl.export.inputs import Row, to_tensors
from vxl.export.modeling_vxl import VxlForCausalLM
from vxl.model import VideoLanguageModel
from vxl.option.rebuild import plain


def both(**changes: Any) -> tuple[VideoLanguageModel, VxlForCausalLM]:
    """A model, and the same weights behind transformers' methods."""
    ours = model(**changes)
    values = json.loads(json.dumps(plain(settings(**changes))))
    theirs = VxlForCausalLM(VxlConfig(values, eos_token_id=None, pad_token_id=0)).eval()
    weights = {f"model.parts.{name}": tensor for name, tensor in ours.state_dict().items()}
    theirs.load_state_dict(weights, strict=True)
    return ours, theirs


def asked(*conversations: tuple[tuple[BatchedVisual, ...], Tensor | None, list[int]]) -> dict[str, Tensor]:
    """The inputs of conversations: of each its visuals, their frames, and the question's tokens."""
    rows = []
    for items, frames_FCHW, question in conversations:
        encoded = head(*items)
        encoded.text(question, question=True)
        counts = [item.groups if item.kind == "image" else item.frames for item in items]
        rows.append(Row(encoded, () if frames_FCHW is None else frames_FCHW.split(counts)))
    return to_tensors(rows, pad=0)
