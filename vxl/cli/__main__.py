"""The entry of the `vxl` command, also as `python -m vxl.cli`: Ctrl-C is met in its first moment."""

from vxl.terminal.at_start import end_at_interrupts


def main() -> None:
    """Runs one command."""
    end_at_interrupts()
    from vxl.cli.main import main as run  # late: yaml and all else that takes a moment

    run()


if __name__ == "__main__":
    main()
