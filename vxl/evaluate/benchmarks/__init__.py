"""Adapters: one file a benchmark, each reading the authors' files as they were released.

May enter: reading annotations, wording prompts, reading answers, a benchmark's own metrics. Contract: known
defects of a file are a table in its adapter, mended or dropped by it and named in the report.
"""
