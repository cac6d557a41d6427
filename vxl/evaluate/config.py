"""The config of `python evaluate.py`."""

from dataclasses import dataclass, field

from vxl.evaluate.benchmark import BenchmarkConfig
from vxl.run.config import DebugConfig, PathsConfig


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """`python evaluate.py`."""

    run: str
    """Name of a run below paths.runs, or its path."""
    benchmark: BenchmarkConfig
    """What to ask."""
    paths: PathsConfig
    debug: DebugConfig
    checkpoint: str = "last"
    """Which checkpoint: last, best, or a step."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    max_new_tokens: int = 8
    """Longest answer, in tokens."""
    limit: int | None = None
    """Ask only the first so many questions."""
    plugins: list[str] = field(default_factory=list)
    """Packages of your own whose parts and configs may be named."""
