#!/bin/sh
# Short runs of char_gpt: what it shows, that it learned, that a resumed run is the uninterrupted one bit for bit, and
# what it says to bad input.
#
#   char_gpt.sh PROGRAM TEXT
set -eu
program=$1
text=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "char_gpt: $*"; exit 1; }

run() {
  "$program" --text "$text" --layers 2 --heads 2 --width 32 --context 32 --batch 16 --steps 400 --rate 1e-2 \
    --decay 0.01 "$@"
}

run --trace "$work/trace.json" --generate 40 --save "$work/whole" >"$work/out" || { cat "$work/out"; fail "it failed"; }
for shown in 'step 400/400' 'Training loss' 'Time by op' 'attention_backward' 'Generated after' 'Next:'; do
  grep -q "$shown" "$work/out" || { cat "$work/out"; fail "'$shown' is not in its output"; }
done
grep -q ' 0 calls to the system for more' "$work/out" || {
  grep Memory "$work/out" || true
  fail "its last 100 steps asked the system for memory"
}
grep -q 'attention' "$work/trace.json" || fail "the trace shows no attention"
# "held-out loss X nats/char (bigram table Y)"
awk '/^held-out loss/ {found = 1; bad = !($3 < $7 + 0)} END {exit !found || bad}' "$work/out" || {
  grep held-out "$work/out" || true
  fail "it predicts no better than a table of pairs"
}

results() { grep -E 'held-out|last training' "$1" | sed 's/,.*//'; }
run --quiet --steps-until 177 --save "$work/part" >/dev/null || fail "the first part failed"
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
refuses 'MILL_E_SHAPE' --resume "$work/part" --width 16
refuses 'a multiple of --heads' --heads 5
refuses 'too little text' --context 100000000
results "$work/out"
