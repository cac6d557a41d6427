"""What a notebook shows of a model and of what it watched."""

from pathlib import Path

import vxl
from tests.run_directories import CLIP, make_run


def test_a_model_and_a_context_print_as_a_line(tmp_path: Path) -> None:
    make_run(tmp_path, "first", steps=(10,))
    loaded = vxl.load("first", runs=tmp_path, device="cpu")
    assert repr(loaded).startswith("LoadedModel(tiny, ")
    assert repr(loaded).endswith("step-000010, on cpu)")
    context = loaded.watch(vxl.Clip(str(CLIP), "video"))
    assert repr(context) == (
        f"Context({context.frames} frames, {context.visual_tokens} visual tokens, {context.tokens} tokens)"
    )
