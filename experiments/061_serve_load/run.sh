#!/usr/bin/env bash
# 200 requests of 8 clients to `vxl serve`, then a kill -9 and a restart; needs the extra `dev`.
set -euo pipefail
cd "$(dirname "$0")/../.."
OMP_NUM_THREADS=1 .venv/bin/python experiments/061_serve_load/load.py
