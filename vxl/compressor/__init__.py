"""Compressors: patches_FPV -> visual_GKD, the visual tokens that the language model reads."""
