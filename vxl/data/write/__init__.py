"""`vxl shards`: writing shards, and checking those that are there.

Contract: what lint calls bad, writing and training call bad, for the same reason.
"""
