"""`data=clips`: the embedded real clips and drawn ones, as shards with questions."""

from vxl.data.clips.clips import Clips, ClipsConfig

__all__ = ["Clips", "ClipsConfig"]
