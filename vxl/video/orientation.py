"""Which way up a video is shown: the display matrix of a file, turned phones and mirrored cameras."""

import struct
from dataclasses import dataclass
from typing import Any

import av.sidedata.sidedata
import av.video.frame
from torch import Tensor

MATRIX = av.sidedata.sidedata.Type.DISPLAYMATRIX


@dataclass(frozen=True)
class Orientation:
    """How a stored picture becomes the shown one: rows and columns change places, then are turned round."""

    transposed: bool = False
    flipped_rows: bool = False
    flipped_columns: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether no turn leads from the stored picture to the shown one."""
        return (self.transposed + self.flipped_rows + self.flipped_columns) % 2 == 1

    def upright(self, pixels_HWC: Tensor) -> Tensor:
        """The picture as it is shown, a view of [H, W, C] or [W, H, C]; copy it to have it in order."""
        if self.transposed:
            pixels_HWC = pixels_HWC.transpose(0, 1)
        around = [axis for axis, flip in enumerate((self.flipped_rows, self.flipped_columns)) if flip]
        return pixels_HWC.flip(around) if around else pixels_HWC


def orientation_of(frame: av.video.frame.VideoFrame) -> Orientation:
    """The orientation that a frame's display matrix states; angles go to the nearest quarter turn.

    The matrix (ISO 14496-12, 6.2.2) takes a stored point to x' = a x + c y, y' = b x + d y.
    """
    notes: Any = frame.side_data  # a mapping by type, which PyAV's annotations don't say
    matrix = notes.get(MATRIX)
    if matrix is None:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("<9i", bytes(matrix))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, flipped_rows=d < 0, flipped_columns=a < 0)
    return Orientation(True, flipped_rows=b < 0, flipped_columns=c < 0)
