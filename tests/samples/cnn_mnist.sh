#!/bin/sh
# Short runs of cnn_mnist on made-up digits: what it shows, that it learned them, that a resumed run is the uninterrupted
# one bit for bit, and what it says to bad input.
#
#   cnn_mnist.sh PROGRAM
set -eu
program=$1
here=$(cd "$(dirname "$0")" && pwd)
command -v python3 >/dev/null 2>&1 || { echo "skipped: needs python3"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "cnn_mnist: $*"; exit 1; }
python3 -B "$here/make_digits.py" "$work"

run() {
  "$program" --data "$work" --channels 8 --hidden 32 --epochs 6 --batch 32 --rate 5e-3 "$@"
}

run --save "$work/whole" >"$work/out" || { cat "$work/out"; fail "it failed"; }
for shown in 'epoch  6' 'images/s' 'Time by op' 'conv_weight_gradient' 'max_pool_backward'; do
  grep -q "$shown" "$work/out" || { cat "$work/out"; fail "'$shown' is not in its output"; }
done
# 90 % of guesses at random are wrong.
awk '/^test error / {found = 1; bad = !($3 < 5)} END {exit !found || bad}' "$work/out" || {
  cat "$work/out"
  fail "the last line must be 'test error X %' with X below 5"
}

results() { grep -E '^test error|last training' "$1" | sed 's/,.*//'; }
run --quiet --epochs-until 2 --save "$work/part" >/dev/null || fail "the first part failed"
run --quiet --resume "$work/part" --save "$work/resumed" >"$work/second" || fail "the resumed part failed"
[ "$(results "$work/out")" = "$(results "$work/second")" ] || {
  results "$work/out"
  results "$work/second"
  fail "the resumed run's results differ"
}
cmp "$work/whole" "$work/resumed" || fail "the resumed run's checkpoint differs"

refuses() {
  said=$1
  shift
  if run --quiet "$@" >/dev/null 2>"$work/said"; then fail "$* is accepted"; fi
  grep -q -e "$said" "$work/said" || { cat "$work/said"; fail "$* does not say '$said'"; }
}
refuses 'MILL_E_SHAPE' --resume "$work/part" --channels 4
refuses 'nothing is left' --resume "$work/whole"
refuses 'no such file' --data /nowhere
refuses '--channels must be' --channels 0
tail -n 1 "$work/out"
