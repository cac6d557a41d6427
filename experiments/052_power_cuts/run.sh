#!/usr/bin/env bash
# Fifty power cuts of a training; needs root and a loop device.
set -euo pipefail
cd "$(dirname "$0")/../.."
make test-crash
