#!/usr/bin/env bash
# The accuracy of float8 on the pretrained weights of model=small (make small), on a CPU: minutes to half an hour.
set -euo pipefail
cd "$(dirname "$0")/../.."
OMP_NUM_THREADS=1 .venv/bin/python experiments/022_float8/accuracy.py "$@"
