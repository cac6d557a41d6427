#!/usr/bin/env bash
# One GPU; at most 22 GiB are used, and slow policies take minutes. On a CPU, in miniature: add --tiny --frames 64.
set -euo pipefail
python experiments/021_policy_cost/bench.py --out experiments/021_policy_cost/measured.json "$@"
