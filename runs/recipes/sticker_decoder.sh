#!/usr/bin/env bash
# The embedded model's decoder, from the one before: under its settings of generation, then with half the channels at a
# quarter of the sides. An hour and a half on two CPU threads; interrupt and repeat at will.
#   runs/recipes/sticker_decoder.sh STORE WORK WEIGHTS
# STORE is a clip store (`sfv pack`); WEIGHTS holds lpips_alexnet.safetensors (runs/recipes/feature_weights.py).
# The package holds the narrow decoder already: begun from it nothing is left out. It was begun from the wide one before.
set -euo pipefail
store=$1 work=$2 weights=$3
train() {
  sfv train decoder "$store" "$1" --init "$2" --preset sticker-cpu --threads 2 --set as_generated=true window=5 \
    bends=1000 strain=0.35 strain_of_soft=0.5 trust_bias=7 draws=false "lpips=$weights" clips=3 lr=4e-4 warmup=50 \
    decay_from=0.3 ema=0.998 programmed=0.2 "${@:3}"
}
train "$work/wide" sticker steps=5000 seed=41
train "$work/narrow" "$work/wide" steps=7200 seed=43 "widths=[128,96,32,32]"
