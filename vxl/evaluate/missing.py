"""What to say of videos that are not there, before a model is loaded."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vxl.evaluate.benchmark import Benchmark
from vxl.evaluate.benchmarks.official import Official
from vxl.evaluate.item import BenchmarkItem

_NEAR = 30
"""Folders at most that are looked into for a folder of videos of another level."""


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
    if isinstance(benchmark, Official):
        lines.append(f"  looked in: {benchmark.config.videos}")
    if len(missing) == len(items):
        lines += _wrong_level(benchmark, items[0])
    else:
        lines.append("  score the rest, and say so:  benchmark.missing=skip")
    return "\n".join(lines)


def _wrong_level(benchmark: Benchmark, item: BenchmarkItem) -> list[str]:
    """Where all are missing: what the folder holds instead, and the folder that was meant if it is near."""
    if not isinstance(benchmark, Official) or not benchmark.config.videos:
        return []
    place = Path(benchmark.config.videos).expanduser()
    if not place.is_dir():
        return [f"  there is no such folder: {place}"]
    below = sorted(path for path in place.iterdir() if path.is_dir())[:_NEAR]
    near = [place.parent, *below, *(path for one in below for path in sorted(one.iterdir())[:_NEAR])]
    for path in near:
        there = replace(benchmark.config, videos=str(path))
        if type(benchmark)(there, data=benchmark.data, cache=benchmark.cache).file_of(item) is not None:
            return [f"  they are on another level:  benchmark.videos={path}"]
    held = ", ".join(path.name for path in sorted(place.iterdir())[:8])
    return [f"  expected there: {benchmark.names_of(item)[0]}", f"  it holds: {held or 'nothing'}"]
