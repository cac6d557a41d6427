"""Training: run directory, data loader to checkpoint, result; begins with `vxl.train.run.run`."""
