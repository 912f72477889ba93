#!/usr/bin/env bash
# Masks of satellite tiles: hw1_2.sh FOLDER OUT
# RUN is a run, a stage of a study, or a model file; by default DeepLabV3 of the homework, seed 0.
set -euo pipefail
ssl-seg predict "${RUN:-runs/homework@DeepLabV3:0}" "$1" --out "$2" --overwrite
