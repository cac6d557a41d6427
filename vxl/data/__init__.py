"""From shards or a JSON list to batches: samples, the deterministic stream, prompts, packing, collation."""
