"""Typed options: a dataclass, the class that it builds, and strict rebuilding from plain values.

May enter: what config files mean, without Hydra. Contract: `conf/GROUP/NAME.yaml` names a class by
`_target_`; the annotation of its `config` argument is the schema of the file.
"""
