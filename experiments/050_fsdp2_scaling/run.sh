#!/usr/bin/env bash
# All rows that this machine has the GPUs for; the others are listed as not run. Minutes a GPU count.
set -euo pipefail
cd "$(dirname "$0")/../.."
export NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NVSHMEM_DISABLE_NVLS=1
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True  # long rows leave little room for gaps
python experiments/050_fsdp2_scaling/scaling.py --gpus 1,2,4,8 --as-json experiments/050_fsdp2_scaling/results.json
python experiments/050_fsdp2_scaling/figure.py
