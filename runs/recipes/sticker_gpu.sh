#!/usr/bin/env bash
# The embedded model from nothing on one GPU, then its table. Interrupt and repeat at will; every part resumes.
#   runs/recipes/sticker_gpu.sh DATA WORK WEIGHTS
# DATA holds clips.zip, index.json and stills.zip; WEIGHTS holds the feature networks of `sfv evaluate`
# (runs/recipes/feature_weights.py).
# Not yet measured: no GPU has been available.
set -euo pipefail
data=$1 work=$2 weights=$3
sfv pack "$data" "$work/store" --per-family 6
train() { sfv train "$1" "$work/store" "$work/model" --preset sticker-gpu --device cuda "${@:2}"; }
train codec --set "lpips=$weights"
train teacher
train decoder --set "lpips=$weights"
train student
train stiffness
sfv export "$work/model" "$work/weights" --precision float16
sfv evaluate "$work/store" --weights "$weights" --out "$work/evaluation" \
    --models "$work/weights:1"
