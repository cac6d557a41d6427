#!/usr/bin/env bash
# The data stream beside PyAV, on one thread. From the repository's root, in its environment.
set -euo pipefail
vxl bench data --as-json experiments/002_data/results.json
