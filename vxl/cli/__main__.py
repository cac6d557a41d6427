"""`python -m vxl.cli`."""

from vxl.cli.main import main

main()
