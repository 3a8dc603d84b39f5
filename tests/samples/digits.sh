#!/bin/sh
# Trains a sample on made-up digits and checks that it learned them.
#
#   digits.sh HOW COMMAND [ARGUMENT ...]     HOW the sample takes its data: --data, --csv, or plain (the folder alone)
#
# Exit status: 0 learned, 1 not, 77 Python or the command's interpreter is missing.
set -eu
how=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
for program in python3 "$1"; do
  command -v "$program" >/dev/null 2>&1 || { echo "skipped: needs $program"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -B "$here/make_digits.py" "$work"
case $how in
  --data) set -- "$@" --data "$work" ;;
  --csv) set -- "$@" --csv "$work/train.csv" "$work/test.csv" ;;
  plain) set -- "$@" "$work" ;;
esac
"$@" >"$work/out" || { cat "$work/out"; echo "digits: the sample failed"; exit 1; }
tail -n 1 "$work/out"
# 90 % of guesses at random are wrong.
awk '/^test error / {found = 1; bad = !($3 < 5)} END {exit !found || bad}' "$work/out" || {
  cat "$work/out"
  echo "digits: the last line must be 'test error X %' with X below 5"
  exit 1
}
