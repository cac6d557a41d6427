"""From a sample to a batch: the prompt as text, tokens with labels, frames, padded rows with their layout.

May enter: what one sample becomes, and how several stand in rows. Contract: an `Example` costs what `cost`
said before it was decoded; a bad sample keeps its place, masked.
"""
