"""From a command line to a checked config: the only room that knows Hydra and OmegaConf.

May enter: composing, rules that span keys (`check`), sweeps, recipes, mistakes in words, what Tab offers.
Contract: what leaves is a frozen dataclass (vxl/train/config.py, vxl/evaluate/config.py); all problems come
in one message.
"""
