"""Conversations about videos, images, several of both and nothing, in one batch: trained on, and asked."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_bad_input import Screen, screen
from tests.data import media
from vxl.cli.main import main

__all__ = ["screen"]
MODELS = [
    "videoxl2",
    "videoxl_pro",
    "videoxl",
    "videoxl2 kv=full prefill=chunked data.packing=true data.max_tokens=128",
]
SHORT = "size=tiny name=x logger=csv trainer=cpu data.workers=0 data.batch=5 trainer.max_steps=2"


def talk(shown: int, **visuals: Any) -> dict[str, Any]:
    """A conversation in the family's format."""
    asked = "<image>\n" * shown + "What happens?"
    answered = [{"from": "human", "value": asked}, {"from": "gpt", "value": "It gets brighter."}]
    return {**visuals, "conversations": answered}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_all_kinds_in_one_batch(model: str, screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    place = screen.folder
    shown = {"a.mp4": media.video(), "b.mp4": media.video(20), "i.jpg": media.image(200, 90)}
    for name, data in shown.items():
        (place / name).write_bytes(data)
    kinds = [
        talk(1, video="a.mp4"),
        talk(2, video=["a.mp4", "b.mp4"]),
        talk(1, image="i.jpg"),
        talk(2, image=["i.jpg", "i.jpg"]),
        talk(0),
    ]
    media.write_json(place / "mine.json", kinds)
    data = "data=json data.json=mine.json data.videos=."
    status, _, error = screen.type(f"model={model} {SHORT} {data}")
    assert (status, error) == (0, "")
    result = json.loads(Path("runs/x/RESULT.json").read_text())
    assert result["samples"] >= 10
    assert math.isfinite(result["loss_last"])
    for name in ("b.mp4", "i.jpg"):
        main(["ask", "run=x", name, "What happens?", "max_new_tokens=2"])
        assert "visual tokens" in capsys.readouterr().err
