"""Weights, below whoever computes with them: tensors in files, and layers that hold theirs in few bits.

May enter: reading safetensors and PyTorch files by name, slice by slice, without executing anything; where
fetched weights lie; linear layers whose weight is in codes. Contract: a `Stored` tensor says its name, shape
and type before it is read; a coded layer gives its weight, and checkpoints have it, under its own name.
"""
