"""Vision towers: frames_FCHW (uint8) -> patches_FPV. `vision=NAME` is conf/vision/NAME.yaml.

May enter: towers and the reading of their published weights. Contract: see `vxl.vision.base.VisionEncoder`.
Frames never see each other, and a tower says itself what its pixels are (`pixels`).
"""
