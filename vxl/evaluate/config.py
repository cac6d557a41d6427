"""The config of `python evaluate.py`."""

from dataclasses import dataclass, field
from typing import Literal

from vxl.errors import ConfigError
from vxl.evaluate.benchmark import BenchmarkConfig
from vxl.run.config import DebugConfig, PathsConfig
from vxl.train.launch.cluster import ClusterConfig, HereConfig


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """`python evaluate.py`.

    Parts that need no training may be exchanged too, as in training: `kv=snapkv kv.keep=0.25`,
    `prefill=chunked`, `video.max_frames=64`, `selector.keep=0.5`, `llm.attention=flash`; several values make
    several members: `kv.keep=0.5,0.25`. See docs/evaluate.md.
    """

    run: str | None = None
    """Name of a run or of a sweep below paths.runs, or a path."""
    weights: str | None = None
    """A folder of weights in place of a run: vxl's own or a published one."""
    benchmark: BenchmarkConfig
    """What to ask."""
    paths: PathsConfig
    debug: DebugConfig
    cluster: ClusterConfig = field(default_factory=HereConfig)
    """Where workers run: here, as processes of this machine, or as SLURM tasks; they share the videos."""
    workers: int | None = None
    """How many; null: one a GPU of this machine, or 4 SLURM tasks."""
    checkpoint: str = "last"
    """Which checkpoint of a run: last, best, or a step."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of weights and arithmetic; auto: the training's on a GPU, fp32 on a CPU."""
    max_new_tokens: int | None = None
    """Longest answer, in tokens; null: the benchmark's own length."""
    limit: int | None = None
    """Ask only the first so many questions."""
    threads: Literal["codec", "auto"] = "codec"
    """What decodes a file: see data.threads."""
    cache: Literal["none", "frames", "features"] | None = None
    """What is kept on disk, below paths.cache: see data.cache; null: as in the run's training."""
    cache_gib: float | None = None
    """Most gibibytes of it; null: as in the run's training."""
    patience: float = 600.0
    """Longest wait for a disk or server that does not answer, in seconds; then the evaluation ends, to be
    started again with the answers that it has. 0: wait for ever."""
    blind: bool = False
    """Ask without showing the videos: what a model knows from the questions alone."""
    resume: bool = True
    """Go on with answers of the same protocol that are there; false: ask all anew."""
    output: str | None = None
    """Folder of the results; null: `evaluate/` of the run; of a folder of weights, below paths.runs."""
    change: list[str] = field(default_factory=list)
    """Set by the command line: parts of the model that were changed, as typed."""
    members: str | None = None
    """Members of a named sweep: policies, frames or prefill (`+sweep=policies`)."""
    plugins: list[str] = field(default_factory=list)
    """Packages of your own whose parts and configs may be named."""

    def __post_init__(self) -> None:
        """Raises ConfigError for numbers that mean nothing."""
        for name in ("workers", "max_new_tokens", "limit"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ConfigError(f"{name}={number} is too small.\n  allowed: null, or 1 or more")
        if self.cache_gib is not None and not self.cache_gib > 0:
            raise ConfigError(f"cache_gib={self.cache_gib} is too small.\n  allowed: null, or more than 0")
        if not self.patience >= 0:
            raise ConfigError(f"patience={self.patience} is too small.\n  allowed: 0 (for ever) or more")
