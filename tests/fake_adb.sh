#!/bin/sh
# Stands in for adb: answers in the format of the real one, and writes down its calls, one line each, tabs between
# arguments. Beside it lie: devices, getprop.NAME, battery (one temperature per line, the last one stays), output (of
# benchmark_model; @US@ is a thousand times the number in the model), vanish_after (calls), status (of benchmark_model).
here=$(dirname "$0")
(IFS=$(printf '\t'); echo "$*") >> "$here/calls"

if [ -f "$here/vanish_after" ] && [ "$(wc -l < "$here/calls")" -gt "$(cat "$here/vanish_after")" ]; then
  echo "error: device 'R5CT' not found" >&2
  exit 1
fi
[ "$1" = -s ] && shift 2
command="$1 $2 $3"
case "$command" in
  "devices -l"*)
    echo "* daemon not running; starting now at tcp:5037"
    echo "List of devices attached"
    cat "$here/devices"
    echo ;;
  get-state*) echo device ;;
  "shell getprop"*) cat "$here/getprop.$3" ;;
  "shell dumpsys battery")
    printf 'Current Battery Service state:\n  AC powered: false\n  USB powered: true\n  level: 87\n'
    printf '  temperature: %s\n  technology: Li-ion\n' "$(head -n 1 "$here/battery")"
    if [ "$(wc -l < "$here/battery")" -gt 1 ]; then sed -i 1d "$here/battery"; fi ;;
  "shell mkdir"* | "shell chmod"*) ;;
  "shell rm -rf") rm -rf "$here/phone/${4##*/}" ;;
  push*)
    mkdir -p "$here/phone"
    shift
    for target; do :; done
    while [ $# -gt 1 ]; do cp -r "$1" "$here/phone/${target##*rtseg_jax/}"; shift; done
    echo "$here: 1 file pushed, 0 skipped. 21.3 MB/s (4473428 bytes in 0.200s)" ;;
  pull*) cp "$here/phone/${2##*/}" "$3" ;;
  shell*benchmark_model*)
    all="$*"
    print="$here/phone/${all##*rtseg_jax/}"
    graph=${all#*--graph=*rtseg_jax/}
    us=$(LC_ALL=C awk 'NR == 1 { printf "%d", $1 * 1000 }' "$here/phone/${graph%% *}")
    answer=$(sed "s/@US@/$us/g" "$here/output")
    case "$all" in
      *"> "*) echo "$answer" > "${print%% *}" ;;
      *) echo "$answer" ;;
    esac
    exit "$(cat "$here/status" 2> /dev/null || echo 0)" ;;
  *)
    echo "adb: unknown command $command" >&2
    exit 1 ;;
esac
