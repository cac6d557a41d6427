"""Which sample comes when: mixtures, shuffling by (seed, i), buckets, packing, streams for workers.

May enter: what decides which sample stands where, without decoding one. Contract: sample i of a seed and a
mixture is the same whatever the number of ranks and workers.
"""
