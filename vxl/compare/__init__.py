"""Members of a sweep, or runs and evaluations, side by side: on the terminal, as a page, as JSON and CSV.

May enter: what reads runs and reports from disk and sets them side by side; nothing here trains or asks.
Contract: `vxl.compare.comparison.compare` reads them, and every view shows the numbers that it found.
"""
