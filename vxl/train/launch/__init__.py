"""`cluster=`: where a run's processes start, here, as local processes or as jobs of SLURM."""
