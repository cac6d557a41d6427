"""`data=long`: long videos made of real and drawn parts, with questions about what was shown long ago.

May enter: what happens in a video, how it is shown, what is asked about it. Contract: a video and its
questions follow from (settings, part of the data, number) alone; training and held-out videos share no clip
and no wording.
"""

from vxl.data.long.long import Long, LongConfig

__all__ = ["Long", "LongConfig"]
