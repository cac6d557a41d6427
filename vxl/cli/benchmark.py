"""`vxl benchmark check NAME`, `vxl benchmark score NAME FILE` and `vxl benchmark lmms NAME FOLDER`."""

from collections.abc import Sequence
from pathlib import Path

from vxl.cli.words import Words, sort_words
from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.evaluate.benchmark import Benchmark
from vxl.evaluate.benchmarks.official import Official
from vxl.evaluate.rescore.score import check, score, show_scores
from vxl.lmms.tasks import write_task
from vxl.option.build import build
from vxl.run.find import cache_folder
from vxl.terminal.say import say
from vxl.terminal.screen import Screen

_USAGE = (
    "  vxl benchmark check NAME annotations=FILE_OR_FOLDER videos=FOLDER\n"
    "  vxl benchmark score NAME FILE [FILE …] [annotations=FILE_OR_FOLDER] [scoring=legacy] [json=FILE]\n"
    "  vxl benchmark lmms NAME FOLDER annotations=FILE_OR_FOLDER videos=FOLDER [prompt=PRESET]"
)


def run_benchmark(arguments: Sequence[str]) -> int:
    """Carries out the command; exit status 1 where a check finds something.

    Raises:
        ConfigError: It is no such command, or a setting does not fit.
        DataError: A file can't be read.
    """
    words = sort_words(arguments)
    words.take("debug")
    if len(words.rest) < 2 or words.rest[0] not in ("check", "score", "lmms"):
        raise ConfigError(f"vxl benchmark needs check, score or lmms, and a benchmark.\n{_USAGE}")
    what, name, *files = words.rest
    target = words.take("json") if what == "score" else None
    benchmark = _benchmark(name, words)
    console = Screen()
    if what == "check":
        if not isinstance(benchmark, Official):
            raise ConfigError(f"benchmark={name} has no annotations of its own to check.")
        return 0 if check(benchmark, console) else 1
    if what == "lmms":
        return _write_task(benchmark, files)
    if not files:
        raise ConfigError(f"vxl benchmark score {name}: which file of answers?\n{_USAGE}")
    scores = [score(Path(file).expanduser(), benchmark) for file in files]
    show_scores(scores, console, Path(target) if target else None)
    return 0


def _write_task(benchmark: Benchmark, folders: Sequence[str]) -> int:
    """Writes a benchmark as a task of lmms-eval."""
    if not isinstance(benchmark, Official) or len(folders) != 1:
        raise ConfigError(f"vxl benchmark lmms needs a published benchmark and one folder.\n{_USAGE}")
    out = Path(folders[0]).expanduser()
    task = write_task(benchmark, out)
    command = f"lmms-eval --model vxl --model_args run=NAME --include_path {out} --tasks {task}"
    say(f"{out}/{task}.yaml\n  {command}")
    return 0


def _benchmark(name: str, words: Words) -> Benchmark:
    """The benchmark with the settings that were typed: `annotations=` is `benchmark.annotations=`."""
    plugins = words.take("plugins")
    overrides = [f"benchmark={name}", *([f"plugins={plugins}"] if plugins else [])]
    overrides += [
        f"benchmark.{key.removeprefix('benchmark.')}='{value}'" for key, value in words.settings.items()
    ]
    config = compose("evaluate", overrides)
    return build(config.benchmark, data={}, cache=cache_folder())
