"""What a training reports while it runs: metrics, throughput and MFU, validation, progress bar, W&B.

May enter: what looks at a step and changes nothing. Contract: a number means the same in metrics.csv, in the
logger, in the bar and in the closing table (vxl.train.report.meter).
"""
