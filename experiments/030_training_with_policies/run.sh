#!/usr/bin/env bash
# Training under pruning. From the repository's root, with model=small fetched (make small).
# Minutes on two GPUs with --gpus 2 --jobs 16; --seeds 1 repeats one seed; --tiny is the miniature on a CPU.
set -euo pipefail
python experiments/030_training_with_policies/study.py "$@"
