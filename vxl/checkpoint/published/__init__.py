"""The published folders of Video-XL, Video-XL-Pro and Video-XL-2: their names, shapes and configs, both ways.

Contract: what is read and written back is the same file, bit for bit.
"""
