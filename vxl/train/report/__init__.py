"""What a training reports while it runs: progress, throughput, validation, metrics, W&B."""
