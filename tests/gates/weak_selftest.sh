#!/bin/sh
# The weak-symbol gate must be able to fail: it sees an inline function outside the target's namespace, and only that.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
CXX=${CXX:-g++}
command -v "$CXX" >/dev/null 2>&1 || { echo "skipped: needs a C++ compiler"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/inside.cpp" <<'EOF'
namespace mill::cpu::avx2 {
template <class T> __attribute__((noinline)) T twice(T x) { return x + x; }
float run(float x) { return twice(x); }
}
EOF
cat >"$work/outside.cpp" <<'EOF'
namespace mill {
template <class T> __attribute__((noinline)) T shared_by_all(T x) { return x + x; }
}
namespace mill::cpu::avx2 {
float run(float x) { return shared_by_all(x); }
}
EOF
for name in inside outside; do "$CXX" -std=c++20 -O1 -c "$work/$name.cpp" -o "$work/$name.o"; done
code=0
sh "$here/weak.sh" avx2 "$work/inside.o" || code=$?
[ "$code" -ne 77 ] || exit 77
[ "$code" -eq 0 ] || { echo "weak self-test: a name inside the namespace was refused"; exit 1; }
code=0
output=$(sh "$here/weak.sh" avx2 "$work/inside.o" "$work/outside.o") || code=$?
case $code:$output in
  1:*shared_by_all*) echo "weak self-test: the planted symbol was seen" ;;
  *) echo "weak self-test: the planted symbol was not seen (status $code): $output"; exit 1 ;;
esac
