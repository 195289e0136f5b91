#!/bin/sh
# Collects what a machine with one CUDA device and no network needs beside this checkout for on_gpu.sh:
#
#     benchmarks/carry.sh FOLDER [--python 3.12] [--data FOLDER] [PACKAGE ...]
#
# FOLDER/wheels: packages for that version of Python on x86-64 Linux. Left out is what comes with a usual installation
# of PyTorch for research: torch, torchvision, numpy, scipy, scikit-learn, pandas, onnx, tensorboard, Pillow, PyYAML,
# click, rich, safetensors, and pytest with pytest-timeout. Name what is missing there all the same.
# FOLDER/fashion-mnist: the four IDX files, from --data or from Debian's package dataset-fashion-mnist.
set -eu
usage() { sed -n '4s/^# *//p' "$0" >&2; exit 2; }

version=3.12
data=/usr/share/datasets/fashion-mnist
folder=
packages=
while [ $# -gt 0 ]; do
    case $1 in
        --python) [ $# -gt 1 ] || usage; version=$2; shift ;;
        --data) [ $# -gt 1 ] || usage; data=$2; shift ;;
        -*) usage ;;
        *) if [ -z "$folder" ]; then folder=$1; else packages="$packages $1"; fi ;;
    esac
    shift
done
[ -n "$folder" ] || usage

platforms=
for glibc in 2_28 2_27 2_24 2_17; do platforms="$platforms --platform manylinux_${glibc}_x86_64"; done
fetch() {
    "${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --only-binary=:all: --dest "$folder/wheels" \
        --python-version "$version" --implementation cp $platforms --platform manylinux2014_x86_64 "$@"
}
rm -rf "$folder/wheels" "$folder/fashion-mnist"
mkdir -p "$folder/wheels"
fetch --no-deps crypten==0.4.1 omegaconf mlxtend $packages  # what they ask for besides is there
fetch cryptography pydantic hatchling  # with parts that fit one version alone

if [ -d "$data" ]; then
    mkdir "$folder/fashion-mnist"
    for part in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
        cp "$data/$part-ubyte"* "$folder/fashion-mnist"
    done
else
    echo "carry.sh: there is no $data, so no training can be run: install dataset-fashion-mnist, or name --data" >&2
fi
ls "$folder/wheels"
du -sh --apparent-size "$folder"
