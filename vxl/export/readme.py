"""The README of an exported model: what it is, how it is used, and under which licence."""

from collections.abc import Mapping
from string import Template
from typing import Any

from vxl.checkpoint.published.family import FAMILIES
from vxl.checkpoint.weights import Weights
from vxl.option.rebuild import plain
from vxl.parts import ModelParts

TEXT = Template("""\
---
library_name: transformers
pipeline_tag: video-text-to-text
tags: [vxl, video, long-video]
license: other
license_name: see-readme
license_link: LICENSE
---

# $name

A video-language model, `model=$model`, written by `vxl export … layout=transformers`. Its code lies beside
the weights and is loaded with `trust_remote_code=True`; vxl need not be installed. It needs
`transformers>=5.17`, `torch`, `av>=17` and `pillow`; `accelerate` for `device_map`.

```python
from transformers import AutoModelForCausalLM, AutoProcessor

folder = "PATH_OF_THIS_FOLDER"
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype="auto", device_map="auto")
messages = [{"role": "user", "content": [
    {"type": "video", "path": "VIDEO.mp4"},
    {"type": "text", "text": "What happens?"},
]}]
inputs = processor.apply_chat_template(messages, tokenize=True, return_dict=True, add_generation_prompt=True)
tokens = model.generate(**inputs.to(model.device))
print(processor.decode(tokens[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
```

Or in one call: `answer, history = model.chat("VIDEO.mp4", processor.tokenizer, "What happens?")`.

| part | |
|---|---|
| frames | $frames |
| vision | `$vision` |
| compressor | `$compressor`, ratio $ratio |
| keys and values | `$kv` |
| language model | `$llm`, $layers layers of width $width |
| longest sequence | $positions tokens |

All settings: `parts` in config.json. The whole model is on one device; `device_map="auto"` chooses it.

## Licence

The code in this folder is vxl's: Apache-2.0 (LICENSE)$others. The weights stand under the licence of
what they were trained from and with$origin. Whoever passes this folder on has to say which that is.
""")


def plugins_of(values: Any) -> list[str]:
    """The packages beside vxl whose classes settings name."""
    if not isinstance(values, Mapping):
        return []
    own = {str(values["_target_"]).partition(".")[0]} if "_target_" in values else set()
    return sorted((own - {"vxl"}).union(*(plugins_of(value) for value in values.values())))


def readme(parts: ModelParts, weights: Weights, name: str) -> str:
    """The page of one model.

    Args:
        parts: Its settings.
        weights: Where its weights come from.
        name: What the folder is called.
    """
    others = plugins_of(plain(parts))
    family = FAMILIES.get(weights.record.family) if weights.record else None
    return TEXT.substitute(
        name=name,
        model=parts.model,
        frames=f"at most {parts.video.max_frames}" if parts.video.max_frames else "as many as the rate says",
        vision=parts.vision._target_.rpartition(".")[2],
        compressor=parts.compressor._target_.rpartition(".")[2],
        ratio=parts.compressor.ratio,
        kv=parts.kv._target_.rpartition(".")[2],
        llm=parts.llm.model_type,
        layers=parts.llm.layers,
        width=parts.llm.width,
        others="".join(f"; that of {other} (`{other}_*.py`) is not" for other in others),
        positions=f"{parts.llm.max_positions:,}",
        origin="" if family is None else f": they began as {family.title}, {family.repository}",
    )
