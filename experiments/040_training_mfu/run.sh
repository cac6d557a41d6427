#!/usr/bin/env bash
# One H100 80 GB, two minutes. On a CPU, in miniature: add --tiny --workers 0.
set -euo pipefail
python experiments/040_training_mfu/mfu.py --variants eager --as-json experiments/040_training_mfu/results.json
python experiments/040_training_mfu/figure.py
