"""`vxl shards`: writing shards, and checking those that are there."""
