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
# 4 of 150 steps, then Ctrl-C: on two busy cores a step took 90 s.
python train.py model=small name=needle_small logger=csv "stage.train=[compressor,projector,llm]" llm.lora.rank=16 trainer.max_steps=150
python evaluate.py run=needle_small benchmark=needle "benchmark.minutes=[0.25,5]" "benchmark.depths=[0,100]" benchmark.needles=1 video.max_frames=16
keep needle_small "video.max_frames=16" small
