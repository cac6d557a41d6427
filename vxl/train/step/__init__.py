"""One optimizer step: the batch, the loss, what learns, the optimizer and its learning-rate schedule.

May enter: what decides the numbers of a step. Contract: the loss is the sum over supervised tokens by their
number in the whole global batch, and a step is a function of (weights, optimizer state, step number, rows).
"""
