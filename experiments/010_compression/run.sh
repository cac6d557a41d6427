#!/usr/bin/env bash
# Compression at equal token budgets. From the repository's root, with model=small fetched (make small).
# Minutes on two GPUs with --gpus 2 --jobs 16; --seeds 1 repeats one seed; --tiny is the miniature on a CPU.
set -euo pipefail
python experiments/010_compression/study.py "$@"
