#!/bin/sh
# Everything that has to be checked on a machine with a GPU, from a pack that tests/gpu/pack.sh made: conformance and
# gradients, streams and pipeline, memory and race checks, first timings. Ends with a dated table.
#
#   run.sh [--device SPEC] [--part N] [--out DIR] [--quick] [PACK]
#
#   --device  cuda unless given; sim for the same on the simulated device
#   --part    only part 1 (conformance, gradients), 2 (streams, pipeline, sanitizer) or 3 (timings). The limits of a
#             part's steps stay under 10 minutes together
#   --out     where the table and the logs go: $OUT if set, else build/gpu-results
#   --quick   a few cases of each step and small sizes, to test this script
#
# Exit status 0: nothing failed; 1: something did; 77: there is no such device, and the table says why.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/gpu
device=cuda part='' out=${OUT:-$root/build/gpu-results} pack=$root/build/gpu-pack quick=''
die() {
  printf 'run: %s\n' "$*" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case $1 in
    --device) device=${2:-}; shift 2 || die "--device needs a name" ;;
    --part) part=${2:-}; shift 2 || die "--part needs a number" ;;
    --out) out=${2:-}; shift 2 || die "--out needs a folder" ;;
    --quick) quick=yes; shift ;;
    -*) die "'$1' is not known; the head of $0 says what is" ;;
    *) pack=$1; shift ;;
  esac
done
case $part in '' | 1 | 2 | 3) ;; *) die "--part is 1, 2 or 3" ;; esac
[ -x "$pack/bin/gpu_timings" ] || die "$pack is no pack: tests/gpu/pack.sh makes one where the project is built"
pack=$(cd "$pack" && pwd)
mkdir -p "$out" || die "$out cannot be made"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stamp=$(date -u +%Y-%m-%dT%H-%M-%SZ)
base=$out/gpu-$stamp${part:+-part$part}
log=$base.log
: >"$log"
: >"$work/rows"
simulated=
case $device in sim | sim:*) simulated=yes ;; esac

# ---- rows ----------------------------------------------------------------------------------------------------------

total_passed=0 total_failed=0 total_skipped=0
# row NAME PASSED FAILED SKIPPED SECONDS REMARK
row() {
  remark=$(printf '%s' "$6" | tr '|\n' '/ ' | cut -c 1-200)
  total_passed=$((total_passed + $2)) total_failed=$((total_failed + $3)) total_skipped=$((total_skipped + $4))
  printf '| %s | %s | %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4" "$5" "$remark" >>"$work/rows"
  printf '%-34s %6s passed %4s failed %4s skipped %7s s  %s\n' "$1" "$2" "$3" "$4" "$5" "$remark"
}
skip() { row "$1" 0 0 1 0 "$2"; }

last_line() { grep -v '^[[:space:]]*$' "$1" | tail -n 1; }
count() { grep -c -e "$1" "$2"; }

# step NAME LIMIT KIND COMMAND...: runs the command for at most LIMIT seconds, its output goes to the log. KIND says how
# cases are counted: gtest; summary (lines with "N passed, N failed"); plain (the step is the case, its last line the
# remark); table (the step is the case).
step() {
  name=$1 limit=$2 kind=$3
  shift 3
  now=$work/now
  printf '\n==== %s: %s\n' "$name" "$*" >>"$log"
  started=$(date +%s%N)
  timeout -k 10 "$limit" "$@" >"$now" 2>&1 </dev/null
  rc=$?
  seconds=$(awk -v a="$started" -v b="$(date +%s%N)" 'BEGIN {printf "%.1f", (b - a) / 1e9}')
  # A program that runs away must not fill what can be carried back.
  { head -c 4000000 "$now"; printf '\n==== %s: status %s after %s s\n' "$name" "$rc" "$seconds"; } >>"$log"
  passed=0 failed=0 skipped=0 remark=
  case $kind in
    gtest)
      # Line by line, so that a run that ended early is counted too.
      passed=$(count '^\[       OK \] .*ms)$' "$now")
      failed=$(count '^\[  FAILED  \] .*ms)$' "$now")
      skipped=$(count '^\[  SKIPPED \] .*ms)$' "$now")
      remark=$(sed -n 's/^\[  FAILED  \] \(.*\) ([0-9]* ms)$/\1/p' "$now" | head -n 1)
      # Why it was skipped stands on the line after the place.
      if [ -z "$remark" ] && [ "$skipped" -gt 0 ]; then
        remark="skipped: $(grep -A 1 ': Skipped$' "$now" | grep -v -e ': Skipped$' -e '^--$' | sort -u | head -n 3 | tr '\n' ';')"
      fi
      ;;
    summary)
      passed=$(awk '/^[0-9]+ passed, [0-9]+ failed/ {n += $1} END {print n + 0}' "$now")
      failed=$(awk '/^[0-9]+ passed, [0-9]+ failed/ {n += $3} END {print n + 0}' "$now")
      if [ "$failed" -gt 0 ]; then remark=$(grep FAILED "$now" | head -n 1); fi
      ;;
    plain | table)
      if [ "$rc" -eq 0 ]; then passed=1; fi
      if [ "$rc" -eq 0 ] && [ "$kind" = plain ]; then remark=$(last_line "$now"); fi
      ;;
  esac
  if [ "$rc" -eq 77 ]; then
    passed=0 failed=0 skipped=1 remark=$(last_line "$now")
  elif [ "$rc" -eq 124 ] || [ "$rc" -eq 137 ]; then
    failed=$((failed + 1)) remark="over its limit of $limit s; ${remark:-$(last_line "$now")}"
  elif [ "$rc" -ne 0 ]; then
    if [ "$failed" -eq 0 ]; then failed=1; fi
    remark="status $rc: ${remark:-$(last_line "$now")}"
  elif [ "$passed" -eq 0 ] && [ "$skipped" -eq 0 ]; then
    failed=1 remark="nothing ran"
  fi
  row "$name" "$passed" "$failed" "$skipped" "$seconds" "$remark"
}

# ---- libraries -----------------------------------------------------------------------------------------------------

outer=${LD_LIBRARY_PATH:-}
export LD_LIBRARY_PATH="$pack/lib${outer:+:$outer}"
# Of those carried, only what is missing here or too old: other programs of this machine see them too.
lacks=$(ldd "$pack"/bin/* "$pack"/lib/* 2>&1 | sed -n -e 's/^[[:space:]]*\([^ ]*\) => not found.*/\1/p' \
  -e 's/.*\/\([^ /]*\): version .* not found.*/\1/p' | sort -u)
mkdir "$work/fallback"
carried=
for name in $lacks; do
  if [ -f "$pack/fallback/$name" ]; then
    ln -s "$pack/fallback/$name" "$work/fallback/$name"
    carried="$carried $name"
    LD_LIBRARY_PATH="$pack/lib:$work/fallback${outer:+:$outer}"
  fi
done
export MILL_TEST_DEVICE="$device"
export MILL_CUDA_PLUGIN="$pack/lib/libmillrace_cuda.so"
bin=$pack/bin

# ---- what this is --------------------------------------------------------------------------------------------------

have() { command -v "$1" >/dev/null 2>&1; }
smi() { have nvidia-smi && nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null | head -n 1; }
{
  echo "# $device, $(date -u +'%Y-%m-%d %H:%M') UTC${part:+, part $part}"
  echo
  echo "- device: $("$bin/gpu_timings" --device "$device" --info 2>&1 | head -n 1)"
  if have nvidia-smi; then
    echo "- GPU: $(smi name,memory.total,compute_cap)"
    echo "- driver: $(smi driver_version)"
    echo "- clocks before (SM, memory; highest SM; power limit): $(smi clocks.sm,clocks.mem,clocks.max.sm,power.limit)"
  fi
  sed 's/^/- pack: /' "$pack/manifest"
  echo "- host: $(uname -srm), $(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs, $(getconf GNU_LIBC_VERSION)${carried:+, carried along:$carried}"
  for nvcc in nvcc /usr/local/cuda/bin/nvcc; do
    if have $nvcc; then echo "- toolkit here: $($nvcc --version | sed -n 's/.*release/release/p')"; break; fi
  done
} >"$work/head"
tee -a "$log" <"$work/head"
echo

part_1() { echo "support of ops
CUDA plugin as a file
conformance test
conformance grad
mixed precision"; }
part_2() { echo "pointwise ops, bit for bit
streams and events
loader pipeline
memcheck
racecheck"; }
part_3() { echo "sample overlap
sample char_mlp
conformance perf
timings
PyTorch"; }

finish() {
  {
    cat "$work/head"
    if have nvidia-smi; then
      echo "- clocks after (SM, memory; temperature): $(smi clocks.sm,clocks.mem,temperature.gpu)"
    fi
    echo
    echo "| step | passed | failed | skipped | seconds | remark |"
    echo "|---|---|---|---|---|---|"
    cat "$work/rows"
    echo "| **all** | $total_passed | $total_failed | $total_skipped | $(($(date +%s) - began)) | |"
    if [ -s "$work/mine.csv" ]; then timings_table; fi
  } >"$base.md"
  echo
  echo "$total_passed passed, $total_failed failed, $total_skipped skipped; $base.md and .log"
}

# Both sides' rows beside each other, by group, name, dtype and size.
timings_table() {
  echo
  echo "| what | dtype | size | time, us | rate | PyTorch, us | its rate |"
  echo "|---|---|---|---|---|---|---|"
  touch "$work/peer.csv"
  awk -F, '
    function key() { return $1 "," $2 "," $3 "," $4 }
    FILENAME == ARGV[1] { time[key()] = $5; rate[key()] = $6 " " $7; next }
    {
      k = key()
      known[k] = 1
      printf "| %s: %s | %s | %s | %s | %s %s | %s | %s |\n", $1, $2, $3, $4, $5, $6, $7, time[k], rate[k]
    }' "$work/peer.csv" "$work/mine.csv"
  # What only the other side has.
  awk -F, '
    function key() { return $1 "," $2 "," $3 "," $4 }
    FILENAME == ARGV[1] { known[key()] = 1; next }
    !(key() in known) { printf "| %s: %s | %s | %s | | | %s | %s %s |\n", $1, $2, $3, $4, $5, $6, $7 }
  ' "$work/mine.csv" "$work/peer.csv"
}

began=$(date +%s)
timeout -k 5 60 "$pack/bin/gpu_timings" --device "$device" --info >"$work/probe" 2>&1
probe=$?
if [ "$probe" -ne 0 ]; then
  reason=$(last_line "$work/probe")
  cat "$work/probe" >>"$log"
  # A GPU that the driver shows and the plugin cannot open is a failure.
  if [ -z "$simulated" ] && have nvidia-smi && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
    row "opening the device" 0 1 0 0 "there is a GPU, and: $reason"
  elif [ "$probe" -ne 77 ]; then
    row "opening the device" 0 1 0 0 "status $probe: $reason"
  fi
  for p in 1 2 3; do
    if [ -n "$part" ] && [ "$part" != $p ]; then continue; fi
    part_$p >"$work/names"
    while read -r name; do skip "$name" "$reason"; done <"$work/names"
  done
  finish
  [ "$total_failed" -eq 0 ] && exit 77
  exit 1
fi

# ---- part 1: the ops, 530 s at most --------------------------------------------------------------------------------

few='' all='^[a-e] ^[f-k] ^[lm] ^[n-z]'
[ -z "$quick" ] || { few="--op ^(add|softmax|sum)\$" all='^(add|softmax)$ ^sum$'; }
# Each derivative waits for the device, and several processes wait beside each other.
# shellcheck disable=SC2016  # expanded by the shell that runs it
gradients='program=$1 device=$2 work=$3
shift 3
pids= code=0 n=0
for ops; do
  n=$((n + 1))
  "$program" grad --device "$device" --op "$ops" >"$work/grad$n" 2>&1 &
  pids="$pids $!"
done
for pid in $pids; do wait "$pid" || code=$?; done
cat "$work"/grad*
exit "$code"'
run_part_1() {
  # shellcheck disable=SC2086  # lists of words
  {
    step "support of ops" 30 plain "$bin/conformance" support --device "$device" $few
    if [ -n "$simulated" ]; then
      skip "CUDA plugin as a file" "the device is simulated"
    elif [ -x "$bin/cuda_tests" ]; then
      step "CUDA plugin as a file" 30 gtest "$bin/cuda_tests"
    else
      skip "CUDA plugin as a file" "the pack has no cuda_tests"
    fi
    step "conformance test" 200 gtest "$bin/conformance" test --device "$device" $few
    step "conformance grad" 210 summary sh -c "$gradients" sh "$bin/conformance" "$device" "$work" $all
    step "mixed precision" 60 gtest "$bin/gradient_tests" --gtest_filter='*MixedPrecision*'
  }
}

# ---- part 2: streams, pipeline, sanitizer, 590 s at most -----------------------------------------------------------

# What walks memory in a way of its own, in the dtypes whose kernels differ. Racecheck looks at shared memory alone.
cases() { printf 'Ops/*/%s_contiguous*:' "$@"; }
memory_cases=$(cases add_?_f32 add_?_bf16 concat_?_f32 where_?_f32 embedding_?_f32 embedding_backward_?_f32 dropout_?_f32 \
  sgd_step_?_f32 adamw_step_?_f32 uniform_?_f32)
shared_cases=$(cases matmul_?_f32 matmul_?_bf16 linear_?_f32 softmax_?_f32 softmax_backward_?_f32 sum_?_f32 argmax_?_f32 \
  layer_norm_?_f32 layer_norm_backward_?_f32 cross_entropy_?_f32 squared_norm_?_f32)

sanitizer=
for candidate in compute-sanitizer /usr/local/cuda/bin/compute-sanitizer /usr/local/cuda/compute-sanitizer/compute-sanitizer; do
  if [ -z "$sanitizer" ] && have $candidate; then sanitizer=$candidate; fi
done
# check TOOL CASES
check() {
  if [ -n "$simulated" ]; then
    skip "$1" "the device is simulated: it checks by itself (docs/devices.md)"
    return
  fi
  if [ -z "$sanitizer" ]; then
    skip "$1" "compute-sanitizer is not installed"
    return
  fi
  # Some virtual machines give it no access: then it says so before anything has run.
  timeout -k 5 50 $sanitizer --tool "$1" --error-exitcode 86 "$bin/gpu_timings" --device "$device" --info >"$work/trial" 2>&1
  trial=$?
  cat "$work/trial" >>"$log"
  refusal=$(grep -i -m 1 -e 'not supported' -e 'unable to' -e 'failed to initialize' "$work/trial" | sed 's/^=* *//')
  if [ "$trial" -ne 0 ] && [ -n "$refusal" ]; then
    skip "$1" "compute-sanitizer: $refusal"
    return
  fi
  step "$1" 150 gtest $sanitizer --tool "$1" --error-exitcode 86 --print-limit 20 "$bin/conformance" test --device "$device" \
    --gtest_filter="$2"
}
run_part_2() {
  step "pointwise ops, bit for bit" 60 gtest "$bin/gpu_tests"
  step "streams and events" 40 gtest "$bin/gpu_stream_tests" --gtest_filter='Streams*'
  step "loader pipeline" 50 gtest "$bin/gpu_stream_tests" --gtest_filter='Pipeline*'
  check memcheck "$memory_cases$shared_cases"
  check racecheck "$shared_cases"
}

# ---- part 3: timings, 490 s at most --------------------------------------------------------------------------------

run_part_3() {
  modelled=$device
  steps=3000 width=256
  if [ -n "$simulated" ]; then
    # Products by the CPU's kernels: the values and the modelled times are what is looked at.
    case $device in sim) modelled=sim:h200-sxm,gemm=1 ;; *) modelled=$device ;; esac
    steps=40 width=64
  fi
  size=
  if [ -n "$quick" ] || [ -n "$simulated" ]; then size=--quick; fi
  # The interpreter that has PyTorch, if one has.
  python=python3
  for candidate in python3 /usr/bin/python3; do
    if LD_LIBRARY_PATH="$outer" timeout 60 "$candidate" -c 'import torch' >/dev/null 2>&1; then
      python=$candidate
      break
    fi
  done
  overlap="--steps 100"
  [ -z "$quick" ] || overlap="--steps 20 --batch 1024"
  # shellcheck disable=SC2086  # lists of arguments
  {
    step "sample overlap" 60 plain "$bin/overlap" --device "$modelled" $overlap
    step "sample char_mlp" 90 plain "$bin/char_mlp" --device "$modelled" --text "$root/docs/ops.md" --steps $steps \
      --hidden $width --generate 80 --quiet
    step "conformance perf" 90 table "$bin/conformance" perf --device "$modelled" $few
    step "timings" 120 summary "$bin/gpu_timings" --device "$modelled" $size --csv "$work/mine.csv"
    if [ -n "$simulated" ]; then
      skip "PyTorch" "the device is simulated: there is nothing to compare"
    else
      step "PyTorch" 120 plain env LD_LIBRARY_PATH="$outer" "$python" "$here/peer_torch.py" $size --csv "$work/peer.csv"
    fi
  }
  for side in mine peer; do
    if [ -s "$work/$side.csv" ]; then cp "$work/$side.csv" "$base-$side.csv"; fi
  done
}

for p in 1 2 3; do
  if [ -z "$part" ] || [ "$part" = $p ]; then run_part_$p; fi
done
finish
[ "$total_failed" -eq 0 ]
