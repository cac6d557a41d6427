#!/usr/bin/env bash
# All rows that this machine has the GPUs for; the others are listed as not run. Minutes a GPU count.
# One sequence of 131,072 tokens that four GPUs share, alone (three minutes or so a row, by arithmetic):
#   scaling.py --gpus 4 --rows ddp/7b_lora/131072/context=4,fsdp2/7b/131072/context=4 --as-json long.json
set -euo pipefail
cd "$(dirname "$0")/../.."
export NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NVSHMEM_DISABLE_NVLS=1
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True  # long rows leave little room for gaps
python experiments/050_fsdp2_scaling/scaling.py --gpus 1,2,4,8 --as-json experiments/050_fsdp2_scaling/results.json
python experiments/050_fsdp2_scaling/figure.py
