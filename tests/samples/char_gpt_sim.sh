#!/bin/sh
# char_gpt on the simulated accelerator: the CPU's losses step by step, with its products and with the CPU's, and not a
# report from the checked kernels.
#
#   char_gpt_sim.sh PROGRAM TEXT [STEPS]
set -eu
program=$1
text=$2
steps=${3:-20}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "char_gpt_sim: $*"; exit 1; }

run() {
  device=$1 until=$2
  "$program" --text "$text" --device "$device" --layers 2 --heads 2 --width 32 --context 24 --batch 4 --steps "$steps" \
    --steps-until "$until" --rate 5e-3 --dropout 0.05 --quiet --generate 0 --losses "$work/losses" >"$work/out" 2>&1 || {
    # Sanitizer builds have none.
    if grep -q 'no checked flavour' "$work/out"; then exit 0; fi
    cat "$work/out"
    fail "$device failed"
  }
}

run cpu "$steps"
mv "$work/losses" "$work/cpu"
# Both round in f32, in another order: 2^-24 per step, and what training makes of it.
same() {
  awk -F, 'NR == FNR {loss[$1] = $2; next}
           FNR > 1 {d = ($2 - loss[$1]) / loss[$1]; if (d < 0) d = -d; if (!(d <= 1e-5)) bad = $1 " " $2 " " loss[$1]; n++}
           END {if (bad != "" || n < 3) {print bad, n; exit 1}}' "$work/cpu" "$work/losses" || fail "$device loses the CPU's losses"
}
run sim:rtx4090,gemm=1 "$steps"
same
run sim:rtx4090,seed=3 3
same
run sim:rtx4090,gemm=1,checked=8,seed=2 5
same
