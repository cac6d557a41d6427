"""From a video or image file to uint8 frames and their times.

What belongs here: opening files, numbering and timing frames (`probe`, `frame_index`, `frame_times`),
choosing which ones to look at (`sample`), decoding them (`decode` and a file for each decoder), and
bringing pixels to a size (`transform`, `tiles`). What does not: samples, prompts, models. The room imports
only options and errors.

Its contract: a frame is what a decoder shows, and its number is its place in the order of showing, the same
by each decoder and whatever else is asked for. Its time is its own time stamp, in seconds from the
beginning of the file (of a segment: from its first frame). Which frames are looked at is decided before any
is decoded. A file that can't be read, or lacks a frame that is asked for, is a `DataError` that names it. A
path is a local path.
"""
