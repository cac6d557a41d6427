"""By which files a folder of weights is known, vxl's own and a published one. Imports no torch."""

import re
from pathlib import Path

CONFIG, UNUSED, RECORD, PUBLISHED = "resolved.yaml", "unused.safetensors", "published.json", "published"
PARTS = ("vision", "compressor", "selector", "llm")
# In this order, as transformers looks for them; an index names the shards that hold each tensor.
WHOLE = ("model.safetensors", "pytorch_model.bin")
INDEX = {
    "model.safetensors": "model.safetensors.index.json",
    "pytorch_model.bin": "pytorch_model.bin.index.json",
}
SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.(safetensors|bin)")
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")


def is_vxl(path: Path) -> bool:
    """Whether a path is a folder of weights that vxl wrote."""
    return (path / CONFIG).is_file() and (path / "llm.safetensors").is_file()


def weights_below(path: Path) -> list[Path]:
    """Folders of weights in a folder that holds none itself: a trainer's checkpoints, a cache's snapshots."""
    below = [folder for pattern in ("*/", "snapshots/*/") for folder in sorted(path.glob(pattern))]
    return [folder for folder in below if is_vxl(folder) or is_published(folder)]


def is_published(path: Path) -> bool:
    """Whether a path is a folder with weights under the names that published folders have (and no run)."""
    return (
        path.is_dir()
        and not (path / CONFIG).exists()
        and (
            any((path / name).exists() for name in (*WHOLE, *INDEX.values(), *ADAPTERS, "config.json"))
            or any(SHARD.fullmatch(file.name) for file in path.iterdir())
        )
    )
