"""Where a run's numbers go beside metrics.csv: `logger=NAME` (base.py says what one is given)."""
