#!/usr/bin/env bash
# Watch once, ask many times: time and memory against frames, and an hour from a file. On one GPU, from the
# repository's root, in its environment. In miniature, on a CPU:  TINY=--tiny experiments/005_watch_once/run.sh
set -euo pipefail
here=experiments/005_watch_once
hour=$(mktemp --suffix .mp4)
trap 'rm -f "$hour"' EXIT
python $here/hour.py examples/clips/sintel_trailer.mp4 "$hour" "${SECONDS_OF_VIDEO:-3600}"
python $here/bench.py ${TINY:-} --out "${OUT:-$here/results.json}" --video "$hour" "$@"
