#!/usr/bin/env bash
# Runs rtseg_jax.main as several processes on this machine, like a run over several hosts.
#
#   launch/local.sh [--dry-run] PROCESSES --config=configs/quickstart.py --workdir=WORKDIR
#
# Each line of output has the number of its process before it. PORT is where the processes meet; by default a free one.
# Where one process fails, the others have GRACE seconds (default 60) to end by themselves, then as long to end when
# told to; the exit status is that of the first that failed. Several GPUs need no more than one process: launch/gpu.sh.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh
# shellcheck source=launch/dry_run.sh
source launch/dry_run.sh

processes=${1:-}
[[ "$processes" =~ ^[1-9][0-9]*$ ]] ||
  fail "the number of processes comes first: launch/local.sh 2 --config=configs/quickstart.py --workdir=WORKDIR"
shift

free_port() {
  .venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])'
}

port=${PORT:-$(free_port)}
grace=${GRACE:-60}
pids=() watcher=""

# For every process that is left; those that have ended meanwhile do not matter.
signal_all() {
  local pid
  for pid in "${pids[@]}"; do kill "-$1" "$pid" 2> /dev/null || true; done
}

# Ends what is left after a failure, in two steps.
end_the_rest() {
  sleep "$grace"
  signal_all TERM
  sleep "$grace"
  signal_all KILL
}

ask_for_huge_pages
for ((number = 0; number < processes; number++)); do
  command=(
    .venv/bin/python -m rtseg_jax.main "$@"
    "--coordinator=localhost:$port" "--num_processes=$processes" "--process_id=$number"
  )
  if $dry_run; then
    print_command "${command[@]}"
  else
    "${command[@]}" > >(sed -u "s/^/[$number] /") 2> >(sed -u "s/^/[$number] /" >&2) &
    pids+=("$!")
  fi
done
trap 'signal_all TERM' INT TERM
trap '[[ -z "$watcher" ]] || kill "$watcher" 2> /dev/null || true' EXIT

status=0
while [[ ${#pids[@]} -gt 0 ]]; do
  code=0
  wait -n -p finished "${pids[@]}" || code=$?
  [[ -n "${finished:-}" ]] || continue # a signal came, not an end
  left=()
  for pid in "${pids[@]}"; do [[ "$pid" == "$finished" ]] || left+=("$pid"); done
  pids=("${left[@]}")
  if [[ $code -ne 0 && $status -eq 0 ]]; then
    status=$code
    if [[ ${#pids[@]} -gt 0 ]]; then
      echo "a process ended with status $code; the others have $grace seconds to end" >&2
      end_the_rest > /dev/null 2>&1 &
      watcher=$!
    fi
  fi
done
exit "$status"
