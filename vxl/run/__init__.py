"""A run is a directory: found, named, locked, compared and read. Nothing here trains.

May enter: whatever reads or writes the small files of a run. Contract: `RESULT.json` is written last; a run
that has it is finished.
"""
