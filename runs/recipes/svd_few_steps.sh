#!/usr/bin/env bash
# A few steps: the UNet of an AnimateLCM-SVD file over SVD's other parts, then one picture in four guided steps.
#   runs/recipes/svd_few_steps.sh UNET.safetensors SVD PICTURE OUT [flags of sfv generate]
# OUT/model is made once; every command takes it: sfv bench, sfv evaluate, sfv train --init.
set -euo pipefail
unet=$1 svd=$2 picture=$3 out=$4
mkdir -p "$out"
[ -e "$out/model/unet/sfv.json" ] || sfv import "$unet" "$svd" "$out/model" --steps 4 --guidance 1.2
sfv generate "$picture" --model "$out/model" --out "$out/few-steps.mp4" --device "${DEVICE:-auto}" "${@:5}"
