#!/bin/sh
# Everything worth knowing on one CUDA device, in under six minutes and without a network: tests, overhead, a training.
#
#     benchmarks/on_gpu.sh [--carried FOLDER] [options of on_gpu.py]
#
# FOLDER is what carry.sh has collected on a machine with a network (build/carried). Its wheels go into a temporary
# folder, in front of what PYTHON (python3), which has torch, finds by itself. The result is printed, and written to
# $OUT/on_gpu.json, or benchmarks/results/on_gpu.json.
#
#     benchmarks/on_gpu.sh --dry      # the same at tiny sizes on the CPU: does it all run?
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
carried=build/carried
if [ "${1:-}" = --carried ]; then carried=$2; shift 2; fi
case $carried in /*) ;; *) carried=$PWD/$carried ;; esac

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
trap 'exit 130' INT TERM
if ls "$carried"/wheels/*.whl >/dev/null 2>&1; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --target "$site" \
        "$carried"/wheels/*.whl
fi
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
# This package, too: its name and version, and in the checkout the functions in C.
if ! "$python" -c 'import importlib.metadata as found; found.version("amint-mpc")' 2>/dev/null; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --no-compile \
        --upgrade --target "$site" .
fi
export PYTHONPATH="$PWD:$PYTHONPATH"
if [ -d "$carried/fashion-mnist" ]; then set -- --data "$carried/fashion-mnist" "$@"; fi
"$python" benchmarks/on_gpu.py --out "${OUT:-benchmarks/results}/on_gpu.json" "$@"
