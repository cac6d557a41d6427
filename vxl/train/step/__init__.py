"""One step of training: the batch, the loss, what learns, the optimizer and its schedule."""
