#!/usr/bin/env bash
# The embedded model from nothing, on two CPU cores: about 30 min codec, 5 min picture encoder, 9 min latents,
# then teacher and student. Interrupt and repeat at will; every part resumes.
#   runs/sticker_cpu.sh DATA WORK [WEIGHTS]
# DATA holds clips.zip and index.json; WEIGHTS holds the feature networks of `sfv evaluate` (runs/feature_weights.py).
set -euo pipefail
data=$1 work=$2 weights=${3:-}
sfv pack "$data" "$work/store" --per-family 4
for part in codec picture-encoder teacher student decoder matte; do
    sfv train "$part" "$work/store" "$work/model" --preset sticker-cpu --threads 2
done
sfv export "$work/model" "$work/weights" --precision float16
if [ -n "$weights" ]; then
    sfv evaluate "$work/store" --weights "$weights" --out "$work/evaluation"
fi
