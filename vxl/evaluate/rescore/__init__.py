"""Scoring answers that are there already: vxl's own, and those of other tools."""
