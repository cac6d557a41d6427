"""What to say of videos that are not there, before a model is loaded."""

from collections.abc import Sequence

from vxl.evaluate.benchmark import Benchmark
from vxl.evaluate.item import BenchmarkItem


def missing_message(
    benchmark: Benchmark, missing: Sequence[BenchmarkItem], items: Sequence[BenchmarkItem]
) -> str:
    """All missing videos at once, those that can't be had any more apart."""
    known_lost = sorted({item.video for item in missing if benchmark.is_known_missing(item)})
    absent = sorted({item.video for item in missing if not benchmark.is_known_missing(item)})
    videos = len({item.video for item in items})
    lines = [f"benchmark={benchmark.name}: {len(known_lost) + len(absent)} of {videos} videos are not there."]
    if absent:
        some = ", ".join(absent[:40]) + (f", … ({len(absent)} in all)" if len(absent) > 40 else "")
        lines.append(f"  missing: {some}")
    if known_lost:
        lines.append(f"  known to be lost for everybody: {', '.join(known_lost[:12])}")
    lines.append(f"  looked in: {getattr(benchmark.config, 'videos', None)}")
    lines.append("  score the rest, and say so:  benchmark.missing=skip")
    return "\n".join(lines)
