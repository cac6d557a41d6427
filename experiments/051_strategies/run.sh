#!/usr/bin/env bash
# Every strategy resumed under every other.
set -euo pipefail
cd "$(dirname "$0")/../.."
make test-grid
