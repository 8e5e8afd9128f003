#!/usr/bin/env bash
# Linter, formatter, type checker and all tests; arguments go to pytest.
#
#   launch/test.sh [PYTEST ARGUMENT ...]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh
use_environment requirements-dev.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-litert.txt
launch/swiftshader.sh || echo "tests that need a GPU adapter will be skipped" >&2
.venv/bin/python -m rtseg_jax.demo.litert_js || echo "the test of the page in a browser will be skipped" >&2
.venv/bin/python -m ruff check
.venv/bin/python -m ruff format --check
.venv/bin/python -m mypy
.venv/bin/python -m pytest -n "${TEST_WORKERS:-2}" --dist loadgroup "$@"
