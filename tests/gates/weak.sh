#!/bin/sh
# An object compiled for AVX2 or AVX-512 must not offer the linker a function that baseline code could be given too: a
# weak symbol (inline function, template instance) is merged across objects, and the copy that survives may contain
# instructions the machine does not have. Names inside the target's own namespaces cannot meet another target's.
#
#   weak.sh TARGET OBJECT...      TARGET: avx2 or avx512
#
# Exit status: 0 none, 1 some, 77 nm is missing.
set -eu
target=$1
shift
command -v nm >/dev/null 2>&1 || { echo "skipped: needs nm (package binutils)"; exit 77; }
[ $# -gt 0 ] || { echo "weak: no objects"; exit 1; }
# Mangled names carry the length of each name; Highway's namespaces are N_AVX2, N_AVX3, N_AVX3_DL ...
case $target in
  avx2) own='4avx2|6N_AVX2' ;;
  avx512) own='6avx512|[0-9]N_AVX3' ;;
  *) echo "weak: unknown target '$target'"; exit 1 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# DW.ref.* is a pointer to the exception personality, the same in every object.
nm --defined-only -A "$@" | awk '$(NF-1) ~ /^[WVuw]$/' | grep -v -E "DW\.ref\.|$own" >"$work/found" || true
if [ -s "$work/found" ]; then
  count=$(wc -l <"$work/found")
  echo "weak: $count weak symbols of $target objects outside its namespaces:"
  awk -F'[:/ ]' '{print $NF}' "$work/found" | c++filt | sort | uniq -c | sort -rn | head -20
  exit 1
fi
echo "weak: none in $# objects of $target"
