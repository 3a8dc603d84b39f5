#!/bin/sh
# Short runs of char_mlp: what it shows, that it learned, that a resumed run is the uninterrupted one bit for bit, and
# what it says to bad input.
#
#   char_mlp.sh PROGRAM TEXT
set -eu
program=$1
text=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "char_mlp: $*"; exit 1; }

run() { "$program" --text "$text" --hidden 64 --batch 64 --steps 480 --rate 5e-3 --dropout 0.1 "$@"; }

run --trace "$work/trace.json" --generate 40 --save "$work/whole" >"$work/out" || { cat "$work/out"; fail "it failed"; }
for shown in 'step 480/480' 'Training loss' 'Time by op' 'matmul' 'Generated after' 'Next:'; do
  grep -q "$shown" "$work/out" || { cat "$work/out"; fail "'$shown' is not in its output"; }
done
grep -q ' 0 calls to the system for more' "$work/out" || {
  grep Memory "$work/out" || true
  fail "its last 100 steps asked the system for memory"
}
grep -q '"traceEvents"' "$work/trace.json" || fail "the trace is no Chrome trace"
grep -q 'matmul' "$work/trace.json" || fail "the trace shows no matmul"
# "held-out loss X nats/char (bigram table Y)"
awk '/^held-out loss/ {found = 1; bad = !($3 < $7 + 0)} END {exit !found || bad}' "$work/out" || {
  grep held-out "$work/out" || true
  fail "it predicts no better than a table of pairs"
}

results() { grep -E 'held-out|last training' "$1" | sed 's/,.*//'; }
run --quiet --steps-until 201 --save "$work/part" >/dev/null || fail "the first part failed"
run --quiet --resume "$work/part" --save "$work/resumed" >"$work/second" || fail "the resumed part failed"
[ "$(results "$work/out")" = "$(results "$work/second")" ] || {
  results "$work/out"
  results "$work/second"
  fail "the resumed run's losses differ"
}
cmp "$work/whole" "$work/resumed" || fail "the resumed run's checkpoint differs"

refuses() {
  said=$1
  shift
  if run --quiet "$@" >/dev/null 2>"$work/said"; then fail "$* is accepted"; fi
  grep -q -e "$said" "$work/said" || { cat "$work/said"; fail "$* does not say '$said'"; }
}
refuses 'MILL_E_FORMAT' --resume "$text"
refuses 'MILL_E_SHAPE' --resume "$work/part" --hidden 32
refuses 'MILL_E_IO' --resume "$work/absent"
refuses 'cannot open' --text "$work/absent"
refuses 'not a number' --steps many
refuses 'unknown option' --stepz 3
results "$work/out"
