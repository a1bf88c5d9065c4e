#!/usr/bin/env bash
# SVD to one step on your videos. Interrupt and repeat at will; every part resumes.
#   runs/recipes/svd_distil.sh 24gb|80gb|8x80gb SVD VIDEOS WORK [flags of sfv train, such as --set steps=2000]
# WORK gets shards, model (with its runs), student (fp16, for diffusers) and report.html's folder model/runs/student.
# SIZE=320x576 trains smaller, WORKERS=8 encodes with more processes, DEVICE=cuda:1 chooses a card, CARDS=4 uses four.
# Not yet run on a card: what it should cost is predicted in docs/first-hour.md.
set -euo pipefail
where=$1 svd=$2 videos=$3 work=$4
one=(python -m sfv train) many=()
case $where in
    24gb) preset=svd-24gb ;;
    80gb) preset=svd-80gb ;;
    8x80gb)
        preset=svd-paper
        one=(torchrun --standalone --nproc-per-node "${CARDS:-8}" -m sfv train)
        many=(--parallel fsdp)
        ;;
    *) echo "svd_distil: $where is none of 24gb, 80gb, 8x80gb" >&2 && exit 2 ;;
esac
device=(--device "${DEVICE:-auto}")
sfv encode "$videos" -o "$work/shards" --model "$svd" --sizes "${SIZE:-448x768}" --workers "${WORKERS:-1}" "${device[@]}"
"${one[@]}" student "$work/shards" "$work/model" --init "$svd" --preset "$preset" "${many[@]}" "${device[@]}" "${@:5}"
sfv report "$work/model/runs/student"
sfv export "$work/model" "$work/student"
