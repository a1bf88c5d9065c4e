#!/usr/bin/env bash
# The embedded model from nothing on one GPU, then its table. Interrupt and repeat at will; every part resumes.
#   runs/sticker_gpu.sh DATA WORK WEIGHTS
# DATA holds clips.zip and index.json; WEIGHTS holds the feature networks of `sfv evaluate` (runs/feature_weights.py).
# Not yet measured: no GPU has been at hand.
set -euo pipefail
data=$1 work=$2 weights=$3
sfv pack "$data" "$work/store" --per-family 6
for part in codec picture-encoder teacher student decoder matte; do
    sfv train "$part" "$work/store" "$work/model" --preset sticker-gpu --device cuda
done
sfv export "$work/model" "$work/weights" --precision float16
sfv evaluate "$work/store" --weights "$weights" --out "$work/evaluation" \
    --models "$work/model:1"
