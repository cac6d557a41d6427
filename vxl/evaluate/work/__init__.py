"""Getting questions answered: on disk at once, by any number of workers, under any policy.

May enter: what asks, claims, stores and exchanges parts; no score is computed here. Contract: one video is
one unit of work, claimed by one worker; the report is the same for any number of them.
"""
