"""Scoring answers that are there already: vxl's own, and those of other tools.

May enter: readers of result files. Contract: the text of an answer is all that is read of it; whatever
score stood beside it is left aside.
"""
