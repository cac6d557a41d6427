"""When a checkpoint is written and which ones stay; a run that is told to stop saves first."""
