"""Asking a trained model the questions of a benchmark, scoring its answers, comparing runs.

May enter: benchmarks (`benchmarks`), getting them answered (`work`), scores and their errors, reports.
Contract: raw answers are on disk before they are scored; a score is a function of them, and says which
protocol it belongs to.

Example:
    >>> from vxl.evaluate.benchmark import Benchmark
    >>> from vxl.evaluate.item import BenchmarkItem
    >>> class Colours(Benchmark):
    ...     name = "colours"
    ...
    ...     def items(self) -> list[BenchmarkItem]:
    ...         asked = {"question": "Which colour?", "options": ("red", "blue"), "gold": "A"}
    ...         return [BenchmarkItem(key="c1", video="c1.mp4", cluster="c1.mp4", kind="colour", **asked)]
    >>> Colours(None, data={}, cache=None).items()[0].letters
    'AB'
"""
