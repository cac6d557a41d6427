#!/usr/bin/env bash
# Training under pruning. From the repository's root, with model=small fetched (make small).
# Minutes on two GPUs with --gpus 2 --jobs 16; the same command goes on where it was ended. --repeat 0 trains again at
# seed 0 and says whether the numbers lie where one more run is expected; --tiny is the miniature; --cpu is model=tiny, trained on a CPU.
set -euo pipefail
python experiments/030_training_with_policies/study.py "$@"
