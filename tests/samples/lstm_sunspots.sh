#!/bin/sh
# Short runs of lstm_sunspots: its forecast beats the seasonal-naive one on a made-up series and on a file, it draws, a
# resumed run is the uninterrupted one bit for bit, and what it says to bad input.
#
#   lstm_sunspots.sh PROGRAM [ARGUMENT ...]     with arguments such as --device sim:rtx4090: a few steps, as on the CPU
set -eu
program=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "lstm_sunspots: $*"; exit 1; }
run() { "$program" --hidden 16 --steps 200 --rate 1e-2 "$@"; }

if [ $# -gt 0 ]; then
  # The same loss as the CPU's, within what another order of summing makes of it.
  for device in "" "$*"; do
    # shellcheck disable=SC2086
    run --quiet --steps 6 --batch 8 $device >"$work/out" || { cat "$work/out"; fail "it failed with $device"; }
    sed -n 's/^last training loss \([0-9.e+-]*\) .*/\1/p' "$work/out" >>"$work/losses"
  done
  awk '{v[NR] = $1} END {d = v[1] - v[2]; exit !(NR == 2 && v[1] > 0 && d * d <= 1e-6 * v[1] * v[1])}' "$work/losses" || {
    cat "$work/losses"
    fail "the losses differ by more than a thousandth"
  }
  tail -n 1 "$work/losses"
  exit
fi

# beats FILE: the LSTM's error is below the seasonal-naive one.
beats() {
  awk '/seasonal naive  / {naive = $3} /^  LSTM / {ours = $2; found = 1} END {exit !(found && ours < naive)}' "$1" ||
    { cat "$1"; fail "it does not beat the seasonal-naive forecast"; }
}
run --save "$work/whole" >"$work/out" || { cat "$work/out"; fail "it failed"; }
for shown in 'step 200/200' 'Time by op' 'lstm_sequence_backward' 'Held-out truth' 'on its own'; do
  grep -q "$shown" "$work/out" || { cat "$work/out"; fail "'$shown' is not in its output"; }
done
beats "$work/out"

run --quiet --steps-until 70 --save "$work/part" >/dev/null || fail "the first part failed"
run --quiet --resume "$work/part" --save "$work/resumed" >"$work/second" || fail "the resumed part failed"
grep 'last training' "$work/out" >"$work/want"
grep 'last training' "$work/second" | cmp -s - "$work/want" || fail "the resumed run's loss differs"
cmp "$work/whole" "$work/resumed" || fail "the resumed run's checkpoint differs"

# A year with its twelve months, below headings, the last year short; and a year with one value.
awk 'BEGIN {
  print "  MONTHLY\nYear Jan Feb\n"
  for (y = 1900; y < 1940; y++) {
    printf "%d", y
    for (m = 0; m < (y == 1939 ? 5 : 12); m++) printf " %.1f", 50 + 40 * sin((12 * y + m) / 16)
    print ""
  }
}' >"$work/monthly"
run --quiet --data "$work/monthly" --layers 2 --dropout 0.1 >"$work/out" || { cat "$work/out"; fail "it cannot read months"; }
grep -q 'the last 47 values' "$work/out" || { cat "$work/out"; fail "it does not hold out 47 of 473 months"; }
beats "$work/out"

refuses() {
  said=$1
  shift
  if run --quiet "$@" >/dev/null 2>"$work/said"; then fail "$* is accepted"; fi
  grep -q -e "$said" "$work/said" || { cat "$work/said"; fail "$* does not say '$said'"; }
}
refuses 'MILL_E_SHAPE' --resume "$work/part" --hidden 8
refuses 'nothing is left' --resume "$work/whole"
refuses 'no such file' --data /nowhere
printf '1900,5\n1901,x\n' >"$work/short"
refuses 'fewer than 40' --data "$work/short"
refuses '--window must be' --window 1000
refuses '--season must be' --season 5000
refuses '--layers must be' --layers 0
tail -n 1 "$work/second"
