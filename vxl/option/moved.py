"""Classes that moved: what runs, contexts and folders of weights name from before still means something.

Whoever reads an import path out of a file looks it up through `current`.
"""

from typing import Any

MOVED = {
    "vxl.data.layout.": "vxl.sequence.layout.",
    "vxl.data.options.Json": "vxl.data.json.Json",
    "vxl.data.options.Mixed": "vxl.data.mixture.Mixed",
    "vxl.data.options.Shards": "vxl.data.shards.Shards",
    "vxl.evaluate.benchmark.Clips": "vxl.evaluate.benchmarks.clips.ClipsBenchmark",
    "vxl.prefill.base.Piece": "vxl.sequence.piece.Piece",
    "vxl.prefill.chunked.Progress": "vxl.prefill.chunked.ChunkProgress",
    "vxl.prefill.summarizing.Held": "vxl.prefill.summarizing.WindowState",
    "vxl.relevance.base.Seen": "vxl.relevance.base.FrameVectors",
    "vxl.relevance.siglip.Siglip": "vxl.relevance.siglip.SiglipRelevance",
    "vxl.selector.asking.": "vxl.generate.selecting.",
    "vxl.train.cluster.": "vxl.train.launch.cluster.",
    "vxl.train.report.logger.Csv": "vxl.logger.csv.Csv",
    "vxl.train.report.logger.Wandb": "vxl.logger.wandb.Wandb",
    "vxl.train.logger.Csv": "vxl.logger.csv.Csv",
    "vxl.train.logger.Wandb": "vxl.logger.wandb.Wandb",
    "vxl.train.slurm.": "vxl.train.launch.slurm.",
    "vxl.train.strategy.": "vxl.train.parallel.strategy.",
    "vxl.vision.clip.Clip": "vxl.vision.clip.ClipTower",
}
"""{how an import path began: how it begins now}."""

ABSENT: dict[str, dict[str, Any]] = {"vxl.kv.snapkv.SnapKV": {"protect": "none"}}
"""{import path of an option: what it meant that a key was absent, where that is not the default of now}."""


def current(path: str) -> str:
    """An import path as it is now.

    Example:
        >>> current("vxl.train.strategy.FSDP2")
        'vxl.train.parallel.strategy.FSDP2'
        >>> current("vxl.compressor.dts.DTS")
        'vxl.compressor.dts.DTS'
    """
    return _begin_anew(path, MOVED)


def first(path: str) -> str:
    """An import path as it was before it ever moved: what names of runs are made from, so that they stay."""
    return _begin_anew(path, {now: before for before, now in MOVED.items()})


def renewed(values: Any) -> Any:
    """A config that was written to a file: every `_target_` as it is now, and what absent keys meant then."""
    if isinstance(values, list):
        return [renewed(value) for value in values]
    if not isinstance(values, dict):
        return values
    new = {key: renewed(value) for key, value in values.items()}
    if isinstance(new.get("_target_"), str):
        new["_target_"] = current(new["_target_"])
        new = ABSENT.get(new["_target_"], {}) | new
    return new


def _begin_anew(path: str, beginnings: dict[str, str]) -> str:
    for old, new in beginnings.items():
        if path == old or (path.startswith(old) and old.endswith(".")):
            return new + path.removeprefix(old)
    return path
