"""Evaluate a run: `python evaluate.py run=NAME benchmark=clips`; a table, and the same as JSON in the run."""

from vxl.terminal.at_start import end_at_interrupts, name_absent_packages

if __name__ == "__main__":
    name_absent_packages()
    end_at_interrupts()  # the imports below take a moment, in which Ctrl-C would print a traceback

from typing import TYPE_CHECKING

from vxl.config.command import command_line

if TYPE_CHECKING:  # late: torch takes 2 s, and --help needs none of it
    from vxl.evaluate.config import EvaluateConfig


@command_line("evaluate")
def main(config: "EvaluateConfig", composed: str) -> None:
    """Answers the benchmark's questions with the run's model, scores and reports them."""
    from vxl.evaluate.run import run_evaluation  # late: torch takes 2 s, and --help needs none of it

    run_evaluation(config)


if __name__ == "__main__":
    main()
