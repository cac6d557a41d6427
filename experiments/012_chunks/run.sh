#!/usr/bin/env bash
# The chunk mask in training and at inference. From the repository's root, with model=small fetched (make small).
# Minutes on two GPUs with --gpus 2 --jobs 16; --seeds 1 repeats one seed; --tiny is the miniature on a CPU.
set -euo pipefail
python experiments/012_chunks/study.py "$@"
