#!/usr/bin/env bash
# Labels of images: hw1_1.sh IMAGES.csv FOLDER OUT.csv
# RUN is a run, a stage of a study, or a model file; by default setting C of the homework, seed 0.
set -euo pipefail
ssl-seg predict "${RUN:-runs/homework@C:0}" "$1" --images "$2" --out "$3" --overwrite
