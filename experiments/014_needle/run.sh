#!/usr/bin/env bash
# Are needles found? From the repository's root, in its environment, on a CPU; `make small` fetches the weights of the second model.
set -euo pipefail
here=experiments/014_needle
keep() {  # RUN FOLDER NAME
    cp "runs/$1/evaluate/$2/needle.json" "$here/$3.json"
    cp "runs/$1/evaluate/$2/needle.png" "$here/$3.png"
}
python train.py name=needle_tiny logger=csv
python evaluate.py run=needle_tiny benchmark=needle benchmark.needles=4
keep needle_tiny . tiny
python evaluate.py run=needle_tiny benchmark=needle "benchmark.minutes=[0.25,0.5,1,2,4]" benchmark.needles=4 video.max_frames=256
keep needle_tiny "video.max_frames=256" tiny_frames
# Ended by a kill behind step 200 of 400, for want of time; the same command goes on.
python "$here/haystacks.py" runs/needles
python train.py model=small name=needle_small logger=csv data=json data.json=runs/needles/needles.json data.videos=runs/needles \
    data.workers=0 data.batch=4 vision.size=112 video.max_frames=8 video.max_fps=1 "stage.train=[compressor,projector,llm]" \
    stage.part_lr.llm=2e-4 llm.lora.rank=16 trainer.precision=bf16-mixed trainer.max_steps=400 trainer.print_every=10 \
    checkpoint.every=100
python evaluate.py run=needle_small benchmark=needle benchmark.needles=4
keep needle_small . small
python evaluate.py run=needle_small benchmark=needle "benchmark.minutes=[0.25,0.5]" "benchmark.depths=[0,50,100]" \
    benchmark.needles=4 video.max_frames=32
keep needle_small "video.max_frames=32" small_frames
