#!/usr/bin/env bash
# Three seeds of model=tiny on the CPU, then forty kills. From the repository's root, in its environment.
set -euo pipefail
here=experiments/001_tiny
python train.py +sweep=seeds name=tiny_seeds trainer=cpu model=tiny logger=csv
vxl compare tiny_seeds json=$here/results.json
make test-kills 2>&1 | tee $here/kills.log
