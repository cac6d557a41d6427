"""Which sample comes when: mixtures, shuffling by (seed, i), buckets, packing, streams for workers.

Contract: sample i of a seed and a mixture is the same whatever the number of ranks and workers.
"""
