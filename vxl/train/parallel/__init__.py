"""`strategy=`: how one model trains on several processes, and how its checkpoints are written then."""
