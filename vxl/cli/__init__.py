"""The `vxl` command: `vxl X` is vxl/cli/X.py.

May enter: reading words, calling what does the work, printing. Contract: heavy packages are imported inside a
command, so that `vxl --help` is quick; a user's mistake is a ConfigError, DataError or CheckpointError.
"""
