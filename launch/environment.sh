# Sourced by the launchers: makes .venv in the repository's root, and renews it when its requirement files change.
# shellcheck shell=bash

fail() {
  echo "error: $1" >&2
  exit 1
}

# The first interpreter that fits; PYTHON=... overrides.
find_python() {
  local candidate
  for candidate in "${PYTHON:-python3.11}" python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.11, 3.12 or 3.13 is needed and none was found; name one with PYTHON=/path/to/python3.11"
}

make_venv() {
  local python
  python=$(find_python)
  "$python" -c 'import ensurepip' 2> /dev/null ||
    fail "this Python cannot make virtual environments; run: apt-get install python3-venv"
  echo "making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
}

# use_environment REQUIREMENTS: installs the file unless a stamp says that this very version of it is there.
use_environment() {
  local stamp=".venv/$1.sha256" wanted
  .venv/bin/python -m pip --version > /dev/null 2>&1 || make_venv
  wanted=$(cat requirements.txt "$1" constraints.txt | sha256sum)
  if [[ "$(cat "$stamp" 2> /dev/null)" != "$wanted" ]]; then
    echo "installing $1 into .venv; this takes a few minutes"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$1" -c constraints.txt
    echo "$wanted" > "$stamp"
  fi
}

# Large buffers of training on CPUs lie in huge pages: 8 % less time a step (docs/results.md).
ask_for_huge_pages() {
  export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
}
