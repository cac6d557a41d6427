"""Members of a sweep, or runs and evaluations, side by side: on the terminal, as a page, as JSON and CSV.

`vxl.compare.comparison.compare` reads them; everything else shows the numbers that it found.
"""
