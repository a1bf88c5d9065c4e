#!/usr/bin/env bash
# The teacher: one picture, 25 guided steps, by Stability's SVD or any fine-tune of it in diffusers layout.
#   runs/recipes/svd_teacher.sh SVD PICTURE OUT [flags of sfv generate]
# DEVICE=cuda:1 runs/recipes/svd_teacher.sh ... chooses a card. docs/first-hour.md tells what it needs.
set -euo pipefail
svd=$1 picture=$2 out=$3
mkdir -p "$out"
sfv generate "$picture" --model "$svd" --out "$out/teacher.mp4" --device "${DEVICE:-auto}" "${@:4}"
