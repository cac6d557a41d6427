"""`cluster=`: where a run's processes start: here, as local processes, or as jobs of SLURM.

May enter: what starts, finds, requeues or ends processes. Contract: every process takes the same way through
`vxl.train.run`; what only one may do, the first one does.
"""
