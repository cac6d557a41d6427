"""Fields of OpenAI's and vLLM's requests that vxl can't heed: refused by name, and never silently ignored."""

from typing import Any

from vxl.serve.asked.fields import Fields, shown
from vxl.serve.request_error import RequestError

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "audio": (),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "prediction": (),
    "web_search_options": (),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "min_tokens": (0,),
    "best_of": (1,),
    "use_beam_search": (False,),
    "ignore_eos": (False,),
    "echo": (False,),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "structured_outputs": (),
}
"""Fields that would change the answer and can't, with the values under which they change nothing."""


def refuse_unsupported(fields: Fields) -> None:
    """Raises RequestError for the first field that can't be heeded; unknown fields are ignored."""
    for key, neutral in NEUTRAL.items():
        if not fields.given(key):
            continue
        value = fields.values[key]
        if not any(value == same and isinstance(value, bool) == isinstance(same, bool) for same in neutral):
            allowed = "".join(f"; allowed: {shown(same)}" for same in neutral[:1])
            raise RequestError(f"{key}={shown(value)} is not supported{allowed or '; leave it out'}.", key)
