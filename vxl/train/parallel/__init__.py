"""`strategy=`: how one model trains on several processes, and how its checkpoints are written then.

May enter: subclasses of Lightning's strategies, FSDP2, sums over ranks. Contract: every strategy gives the
numbers of a single process and writes the same checkpoint folders, which every other one loads.
"""
