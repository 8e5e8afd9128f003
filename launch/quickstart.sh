#!/usr/bin/env bash
# Trains, searches, scores and exports a small network on drawn pictures: no GPU, no data, 2 CPU cores.
# How long it takes stands in docs/results.md.
#
#   launch/quickstart.sh [WORKDIR] [--config.FIELD=VALUE ...]
set -euo pipefail

workdir=""
if [[ $# -gt 0 && "$1" != -* ]]; then
  workdir=$(realpath -m -- "$1")
  shift
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh
use_environment requirements.txt
ask_for_huge_pages
exec .venv/bin/python -m rtseg_jax.main \
  --config=configs/quickstart.py --workdir="${workdir:-$PWD/workdir/quickstart}" "$@"
