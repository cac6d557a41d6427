"""Weights of whole models: of runs, of vxl's folders, of published ones; found, read, written, converted.

May enter: where weights lie and under which names, and filling a model with them; `vxl.load` begins here.
Contract: a name or path is found once and read once (`source.find_source`); nothing that is read executes,
and tensors that do not fit are reported by name.
"""
