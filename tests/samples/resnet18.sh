#!/bin/sh
# Short runs of a narrow resnet18: that it learns made-up images by heart, that a resumed run is the uninterrupted one bit
# for bit, running statistics included, that it reads CIFAR-10's format, and what it says to bad input.
#
#   resnet18.sh PROGRAM [ARGUMENT ...]     with arguments such as --device sim:rtx4090: two steps, as on the CPU
set -eu
program=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "resnet18: $*"; exit 1; }

run() { "$program" --width 4 --images 40 --batch 8 --rate 0.1 "$@"; }

if [ $# -gt 0 ]; then
  # The same loss as the CPU's after two steps, within what another order of summing makes of it.
  for device in "" "$*"; do
    # shellcheck disable=SC2086
    run --quiet --images 16 --epochs 1 $device >"$work/out" || { cat "$work/out"; fail "it failed with $device"; }
    sed -n 's/^last training loss \([0-9.e+-]*\),.*/\1/p' "$work/out" >>"$work/losses"
  done
  awk '{v[NR] = $1} END {d = v[1] - v[2]; exit !(NR == 2 && v[1] > 0 && d * d <= 1e-6 * v[1] * v[1])}' "$work/losses" || {
    cat "$work/losses"
    fail "the losses differ by more than a thousandth"
  }
  tail -n 1 "$work/losses"
  exit
fi

run --epochs 16 >"$work/out" || { cat "$work/out"; fail "it failed"; }
for shown in 'epoch 16' 'images/s' 'Time by op' 'batch_norm_backward' 'conv_weight_gradient'; do
  grep -q "$shown" "$work/out" || { cat "$work/out"; fail "'$shown' is not in its output"; }
done
awk '/it learned are told right/ {found = 1; bad = !($1 >= 97)} END {exit !found || bad}' "$work/out" ||
  { cat "$work/out"; fail "fewer than 97 % of the learned images are told right"; }

results() { grep -E '^test error|last training|told right' "$1" | sed 's/, .*//'; }
run --quiet --epochs 3 --save "$work/whole" >"$work/first" || fail "the whole run failed"
run --quiet --epochs 3 --epochs-until 2 --save "$work/part" >/dev/null || fail "the first part failed"
run --quiet --epochs 3 --resume "$work/part" --save "$work/resumed" >"$work/second" || fail "the resumed part failed"
[ "$(results "$work/first")" = "$(results "$work/second")" ] || {
  results "$work/first"
  results "$work/second"
  fail "the resumed run's results differ"
}
cmp "$work/whole" "$work/resumed" || fail "the resumed run's checkpoint differs"

# CIFAR-10's records: a label, then three planes.
mkdir "$work/cifar"
for part in data_batch_1 data_batch_2 data_batch_3 data_batch_4 data_batch_5 test_batch; do
  for label in 000 001 002 003; do
    printf "\\$label"
    head -c 3072 /dev/zero | tr '\000' "\\1${label#0}0"
  done >"$work/cifar/$part.bin"
done
run --quiet --data "$work/cifar" --epochs 2 >"$work/out" || { cat "$work/out"; fail "it cannot read CIFAR-10's files"; }
grep -q 'of 4 images' "$work/out" || { cat "$work/out"; fail "it does not find four test images"; }

refuses() {
  said=$1
  shift
  if run --quiet "$@" >/dev/null 2>"$work/said"; then fail "$* is accepted"; fi
  grep -q -e "$said" "$work/said" || { cat "$work/said"; fail "$* does not say '$said'"; }
}
refuses 'MILL_E_SHAPE' --epochs 3 --resume "$work/part" --width 3
refuses 'nothing is left' --epochs 3 --resume "$work/whole"
refuses 'no such file' --data /nowhere
printf 'x' >>"$work/cifar/test_batch.bin"
refuses 'whole records' --data "$work/cifar"
refuses '--width must be' --width 0
refuses '--images must be' --images 1
tail -n 1 "$work/first"
