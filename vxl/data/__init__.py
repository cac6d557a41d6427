"""From shards or a JSON list to batches: samples, the deterministic stream, prompts, packing, collation.

What belongs here: what a sample is (`sample`), where samples are read from (`source`), which comes when
(`order`), how one becomes tokens and frames (`batch`), writing and checking shards (`write`), and the
options `data=NAME` (a file each). What does not: models, training, the command line. The room imports
options, sequences and video.

Its contract: sample i of a seed and a mixture is the same whatever the number of ranks and workers.
Nothing is lost or shown as text alone in silence: what can't be used is a bad sample with its reason, in
its place. Input is checked where it is read, so that `vxl shards lint`, writing and training say the
same. What stands in the cache knows what it was made from, and is made anew when that changes.
"""
