"""Where a run's numbers go beside metrics.csv: `logger=NAME` (base.py says what one is given).

May enter: a file for each place. Contract: `Sink` (base.py); metrics.csv is
written whichever logger there is.
"""
