#!/usr/bin/env bash
# Three compression ratios, three seeds, four policies, two benchmarks. From the repository's root, on a CPU.
set -euo pipefail
here=experiments/060_ratios
python train.py model=tiny +sweep=compression seed=0,1,2 name=ratios logger=csv trainer.max_steps=150 trainer.val_every=25
python evaluate.py run=ratios benchmark=clips,needle
python evaluate.py run=ratios benchmark=clips,needle kv=snapkv,uniform,recent kv.of=visual
vxl compare ratios html=$here/page.html
vxl compare ratios json=$here/results.json
