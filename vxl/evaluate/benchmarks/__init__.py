"""Adapters: one file a benchmark, each reading the authors' files as they were released."""
