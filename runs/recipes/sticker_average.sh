#!/usr/bin/env bash
# The embedded student, from the one before: SF-V to the letter goes on from it, and both are averaged. Half an hour on
# one CPU thread; interrupt and repeat at will.
#   runs/recipes/sticker_average.sh STORE WORK
# STORE is a clip store (`sfv pack`). The package holds the average already: from it this goes one round further.
# Its motion is for runs/quality/choose_motion.py to choose again.
set -euo pipefail
store=$1 work=$2
sfv train student "$store" "$work/letter" --init sticker --preset sfv-cpu --threads 1 --set start=sticker huber_c=1000 \
  steps=3000 seed=61 decay_from=0.5 ema=0.99 pool=3000 programmed=0.2
sfv average sticker "$work/letter" --shares 0.65 0.35 --motion 185 -o "$work/average"
