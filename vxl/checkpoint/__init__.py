"""Weights of whole models: of runs, of vxl's folders, of published ones; found, read, written, converted."""
