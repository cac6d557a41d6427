#!/usr/bin/env bash
# The table and a training step on one GPU, then the figure. From the repository's root, in its environment.
set -euo pipefail
here=experiments/004_vst
python $here/bench.py --out $here/results.json
python $here/figure.py $here/results.json $here/figure.png
