"""`vxl shards`: writing shards, and checking those that are there.

May enter: what makes shards or checks them. Contract: what lint calls bad, writing and training call bad,
for the same reason.
"""
