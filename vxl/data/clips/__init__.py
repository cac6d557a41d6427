"""`data=clips`: the embedded real clips and drawn ones, as shards with questions.

May enter: how clips are drawn, what is asked about them, and the writing of their shards. Contract: the same
settings give the same clips and questions, and held-out questions are not trained on.
"""

from vxl.data.clips.clips import Clips, ClipsConfig

__all__ = ["Clips", "ClipsConfig"]
