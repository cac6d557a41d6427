"""vxl trains, evaluates and compares long-video vision-language models of the Video-XL family.

    video file     frames_FCHW      patches_FPV         visual_GKD               logits            text
     ─────► video ──────► vision ──────► compressor ──► prune ──► llm ──────► generate
       shards ─► data                                             │ ▲
                                                                  ▼ │  around each prefill chunk, at the question, at every decoded token
                                                                  kv       which keys and values stay

Letters, in every tensor's name: B batch · F frames · C,H,W pixels · P patches a frame · V vision width ·
G groups (4 frames in the DTS models, 1 in Video-XL) · K visual tokens a group · T sequence tokens ·
D language-model width · N heads · L layers.
"""  # noqa: E501 -- the picture is as wide as it is

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # late: torch takes 2 s, and `import vxl` loads none of it
    from vxl.checkpoint.load import load, load_context
    from vxl.generate.loaded import Clip
    from vxl.generate.saved import save_context
    from vxl.notebook import compare_runs, evaluate_run, list_runs, train_run

_RUNS = ("compare_runs", "evaluate_run", "list_runs", "train_run")
__all__ = [
    "Clip",
    "compare_runs",
    "evaluate_run",
    "list_runs",
    "load",
    "load_context",
    "save_context",
    "train_run",
]


def __dir__() -> list[str]:
    """What the package offers, for the completion of a notebook."""
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """`vxl.load` without making `import vxl` wait for torch."""
    if name in _RUNS:
        from vxl import notebook  # late: torch takes 2 s, and `import vxl` loads none of it

        return getattr(notebook, name)
    if name in __all__:
        from vxl.checkpoint import load  # late: torch takes 2 s, and `import vxl` loads none of it
        from vxl.generate import loaded, saved

        return getattr({"Clip": loaded, "save_context": saved}.get(name, load), name)
    raise AttributeError(f"module 'vxl' has no attribute {name!r}")
