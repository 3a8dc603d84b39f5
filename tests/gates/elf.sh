#!/bin/sh
# What the shared library exports, needs and asks of the loader.
#
#   elf.sh LIBRARY [ROOT]     ROOT: also compare the exports with api/gen/millrace.map
#
# Exit status: 0 as it should be, 1 not, 77 a tool is missing. MILL_SIZE_LIMIT: bytes the stripped library may have.
set -eu
LC_ALL=C
export LC_ALL
library=$1
root=${2:-}
limit=${MILL_SIZE_LIMIT:-8388608}
for tool in nm readelf strip; do
  command -v "$tool" >/dev/null 2>&1 || { echo "skipped: needs $tool (package binutils)"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
wrong() { echo "elf: $*"; bad=1; }

# Version nodes appear as absolute symbols (A); they are not exports.
nm -D --defined-only "$library" | awk '$2 != "A" {print $2, $3}' | sed 's/@.*//' | sort -u >"$work/exports"
awk '$2 !~ /^mill_/' "$work/exports" >"$work/foreign"
[ -s "$work/foreign" ] && wrong "exports beside mill_*: $(head -5 "$work/foreign" | tr '\n' ';')"
awk '$1 != "T"' "$work/exports" >"$work/data"
[ -s "$work/data" ] && wrong "exports that are not plain functions: $(head -5 "$work/data" | tr '\n' ';')"
[ -s "$work/exports" ] || wrong "exports nothing"

if [ -n "$root" ] && [ -f "$root/api/gen/millrace.map" ]; then
  grep -o 'mill_[A-Za-z0-9_]*;' "$root/api/gen/millrace.map" | tr -d ';' | sort -u >"$work/listed"
  awk '{print $2}' "$work/exports" | sort -u >"$work/exported"
  if [ -s "$work/listed" ] && ! cmp -s "$work/listed" "$work/exported"; then
    missing=$(comm -23 "$work/listed" "$work/exported" | head -20 | tr '\n' ' ')
    extra=$(comm -13 "$work/listed" "$work/exported" | head -20 | tr '\n' ' ')
    [ -z "$missing" ] || wrong "listed in millrace.map but not exported: $missing"
    [ -z "$extra" ] || wrong "exported but not listed in millrace.map: $extra"
  fi
fi

readelf -dW "$library" >"$work/dynamic"
for need in $(sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' "$work/dynamic"); do
  case $need in
    libc.so.*|libm.so.*|libz.so.*|libstdc++.so.*|libgcc_s.so.*|ld-linux*.so.*) ;;
    *) wrong "needs $need" ;;
  esac
done
soname=$(sed -n 's/.*(SONAME).*\[\(.*\)\].*/\1/p' "$work/dynamic")
case $soname in
  libmillrace.so.0.[0-9]*) ;;
  *) wrong "soname is '$soname', not libmillrace.so.0.MINOR" ;;
esac
grep -q NODELETE "$work/dynamic" || wrong "NODELETE is not set"
grep -q -E 'BIND_NOW|FLAGS_1.*NOW' "$work/dynamic" || wrong "binding is not immediate"
for flag in STATIC_TLS TEXTREL RPATH RUNPATH; do
  grep -q "$flag" "$work/dynamic" && wrong "$flag is set"
done
readelf -lW "$library" | grep GNU_STACK | grep -q 'RWE' && wrong "the stack is executable"

# Loading must do nothing: no object of ours may bring a start-up initialiser. Names in .cc are the C++ runtime's own,
# which a build with MILL_STATIC_CXX contains.
nm "$library" 2>/dev/null | awk '$3 ~ /^_GLOBAL__sub_I_/ && $3 !~ /\.cc$/ {print $3}' | c++filt >"$work/starters"
[ -s "$work/starters" ] && wrong "start-up initialisers: $(head -5 "$work/starters" | tr '\n' ';')"

strip -o "$work/stripped" "$library"
size=$(wc -c <"$work/stripped")
[ "$size" -le "$limit" ] || wrong "$size bytes stripped, more than $limit"
[ "$bad" -eq 0 ] && echo "elf: $(wc -l <"$work/exports") functions exported, $size bytes stripped (limit $limit), needs $(sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' "$work/dynamic" | tr '\n' ' ')"
exit "$bad"
