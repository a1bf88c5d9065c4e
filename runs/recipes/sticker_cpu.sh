#!/usr/bin/env bash
# The embedded model from nothing, on two CPU threads: hours. Interrupt and repeat at will; every part resumes.
#   runs/recipes/sticker_cpu.sh DATA WORK WEIGHTS
# DATA holds clips.zip, index.json and stills.zip; WEIGHTS holds the feature networks of `sfv evaluate`
# (runs/recipes/feature_weights.py).
# Two processes of one thread do more than one of two, and suffer less from what else runs (LOG.md).
set -euo pipefail
data=$1 work=$2 weights=$3
export OMP_NUM_THREADS=1
train() { torchrun --nproc-per-node 2 -m sfv train "$1" "$work/store" "$work/model" --preset sticker-cpu --threads 1 "${@:2}"; }
sfv pack "$data" "$work/store" --per-family 4
train codec --set "0.lpips=$weights" "lpips=$weights"
train teacher
train decoder --set "lpips=$weights"
train student
sfv train stiffness "$work/store" "$work/model" --preset sticker-cpu --threads 1
sfv export "$work/model" "$work/weights" --precision float16
sfv evaluate "$work/store" --weights "$weights" --models "$work/weights:1" --out "$work/evaluation"
