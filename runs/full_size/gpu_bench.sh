#!/usr/bin/env bash
# The full-size goals on one NVIDIA GPU: runs/full_size/gpu_bench.sh [PART|all] [OUT] [options of runs/full_size/gpu_bench.py]
#
# Every part runs in a process of its own and takes well under ten minutes: kernels, stages, clips, errors, train-24gb,
# train-80gb, resume, rewrites. OUT is a folder for small JSON files ($OUT, else out/gpu, where it is not given); the
# table is printed from all that lies there. A machine without network: put wheels of what it lacks into a folder
# and name it, WHEELS=FOLDER runs/full_size/gpu_bench.sh (docs/full-size-speed.md lists them).
set -uo pipefail
cd "$(dirname "$0")/../.."
part=${1:-all}
out=${2:-${OUT:-out/gpu}}
shift $(($# > 2 ? 2 : $#))
python=${PYTHON:-python3}
if [ -n "${WHEELS:-}" ]; then
  site=${TMPDIR:-/tmp}/sfv-wheels
  "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$site" "$WHEELS"/*.whl || exit 1
  export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
parts=$part
if [ "$part" = table ]; then parts=""; fi
if [ "$part" = all ]; then
  parts="rewrites kernels stages clips errors train-24gb train-80gb resume"
fi
failed=0
log=${TMPDIR:-/tmp}/sfv-bench.log
run() { timeout "${LIMIT:-580}" "$python" runs/full_size/gpu_bench.py "$@" > "$log" 2>&1; }
for one in $parts; do
  run "$one" "$out" "$@"
  code=$?
  tail -n 60 "$log"
  if grep -q "needs an NVIDIA GPU" "$log"; then exit 1; fi
  if [ $code -ne 0 ] && [ $# -eq 0 ] && [[ " stages clips errors " == *" $one "* ]]; then
    echo "$one ended with $code; once more without compiling" >&2
    run "$one" "$out" --backend graphs
    code=$?
    tail -n 60 "$log"
  fi
  if [ $code -ne 0 ]; then
    echo "$one ended with $code" >&2
    failed=1
  fi
done
"$python" runs/full_size/gpu_bench.py table "$out"
exit $failed
