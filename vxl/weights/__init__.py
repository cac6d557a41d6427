"""Tensors in files, below whoever reads them.

May enter: reading safetensors and PyTorch files by name, slice by slice, without executing anything; where
fetched weights lie. Contract: a `Stored` tensor says its name, shape and type before it is read.
"""
