#!/bin/sh
# The public headers, alone and twice, under every language standard they promise, and in the parsers other languages use.
#
#   headers.sh CHECK ROOT     CHECK: gcc_c gcc_cpp gcc_hpp clang_c clang_cpp clang_hpp luajit cffi bindgen swig
#
# MILL_LIBRARY, if set, is loaded by the parsers that can call. Exit status: 0 accepted, 1 refused, 77 a tool is missing.
set -eu
check=$1
root=$2
headers=$root/api/include
kind=h
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

need() { command -v "$1" >/dev/null 2>&1 || { echo "skipped: needs $1"; exit 77; }; }

# Declarations as a parser gets them: preprocessed, otherwise unedited.
declarations() {
  need cpp
  echo '#include "millrace/millrace.h"' >"$work/all.h"
  cpp -P -DMILL_PARSE -I "$headers" "$work/all.h" >"$work/declarations.h"
}

compile() {
  compiler=$1 suffix=$2
  shift 2
  need "$compiler"
  bad=0
  count=0
  for header in "$headers"/millrace/*."$kind"; do
    echo "#include \"millrace/$(basename "$header")\"" >"$work/$(basename "$header" ".$kind")_alone.$suffix"
  done
  printf '#include "millrace/millrace.%s"\n#include "millrace/millrace.%s"\n' "$kind" "$kind" >"$work/twice.$suffix"
  for standard in "$@"; do
    for file in "$work"/*."$suffix"; do
      count=$((count + 1))
      "$compiler" "-std=$standard" -fsyntax-only -Wall -Wextra -Wpedantic -Werror -I "$headers" "$file" || {
        echo "headers: $compiler -std=$standard refuses $(basename "$file")"
        bad=1
      }
    done
  done
  [ "$bad" -eq 0 ] && echo "headers: $count compilations by $compiler ($*)"
  exit "$bad"
}

case $check in
  gcc_hpp) kind=hpp && compile g++ cpp c++17 c++20 c++2b ;;
  clang_hpp) kind=hpp && compile clang++ cpp c++17 c++20 c++2b ;;
  gcc_c) compile gcc c c99 c11 c17 c2x ;;
  gcc_cpp) compile g++ cpp c++11 c++14 c++17 c++20 c++2b ;;
  clang_c) compile clang c c99 c11 c17 c2x ;;
  clang_cpp) compile clang++ cpp c++11 c++14 c++17 c++20 c++2b ;;

  luajit)
    need luajit
    declarations
    cat >"$work/check.lua" <<'EOF'
local ffi = require("ffi")
ffi.cdef(assert(io.open(arg[1])):read("*a"))
assert(ffi.sizeof("mill_attr") == 40)
if arg[2] then
  local v = ffi.new("uint32_t[3]", { 9, 9, 9 })
  ffi.load(arg[2]).mill_version(v, v + 1, v + 2)
  assert(v[0] == ffi.C.MILL_VERSION_MAJOR and v[1] == ffi.C.MILL_VERSION_MINOR, "mill_version answers otherwise")
end
print("headers: LuaJIT takes the declarations" .. (arg[2] and " and calls the library" or ""))
EOF
    luajit "$work/check.lua" "$work/declarations.h" ${MILL_LIBRARY:+"$MILL_LIBRARY"}
    ;;

  cffi)
    python=
    for candidate in python3 /usr/bin/python3; do
      if "$candidate" -c 'import cffi' 2>/dev/null; then python=$candidate; break; fi
    done
    [ -n "$python" ] || { echo "skipped: needs cffi for Python (package python3-cffi)"; exit 77; }
    declarations
    cat >"$work/check.py" <<'EOF'
import sys
import cffi

ffi = cffi.FFI()
ffi.cdef(open(sys.argv[1]).read())
assert ffi.sizeof("mill_attr") == 40
if len(sys.argv) > 2:
    library = ffi.dlopen(sys.argv[2])
    v = ffi.new("uint32_t[3]", [9, 9, 9])
    library.mill_version(v, v + 1, v + 2)
    assert (v[0], v[1]) == (library.MILL_VERSION_MAJOR, library.MILL_VERSION_MINOR), "mill_version answers otherwise"
print("headers: cffi takes the declarations" + (" and calls the library" if len(sys.argv) > 2 else ""))
EOF
    "$python" "$work/check.py" "$work/declarations.h" ${MILL_LIBRARY:+"$MILL_LIBRARY"}
    ;;

  bindgen)
    need bindgen
    if ! bindgen --no-layout-tests "$headers/millrace/millrace.h" -- -I "$headers" >"$work/out.rs" 2>"$work/log"; then
      if grep -q -i 'unable to find libclang' "$work/log"; then echo "skipped: needs libclang for bindgen"; exit 77; fi
      cat "$work/log"
      exit 1
    fi
    grep -q 'pub fn mill_version' "$work/out.rs" || { echo "headers: bindgen saw no mill_version"; exit 1; }
    if command -v rustc >/dev/null 2>&1; then
      rustc --edition 2021 --crate-type lib --emit metadata -A warnings -o "$work/out.rmeta" "$work/out.rs"
    fi
    echo "headers: bindgen writes $(grep -c 'pub fn mill_' "$work/out.rs") functions"
    ;;

  swig)
    need swig
    printf '%%module millrace\n%%{\n#include "millrace/millrace.h"\n%%}\n%%include <stdint.i>\n' >"$work/millrace.i"
    # A string that a struct borrows is read-only from a language whose own strings move.
    awk '/^typedef struct [a-z_]+ \{/ {name = $3}
         /^  const char\* [a-z_]+;/ {field = $3; sub(/;.*/, "", field); print "%immutable " name "::" field ";"}
         /^\}/ {name = ""}' "$headers"/millrace/*.h >>"$work/millrace.i"
    # Each header in the order of the umbrella: SWIG follows no #include of its own accord.
    echo '%include "millrace/types.h"' >>"$work/millrace.i"
    sed -n 's/^#include "\(millrace\/.*\)"/%include "\1"/p' "$headers/millrace/millrace.h" | grep -v types.h >>"$work/millrace.i"
    for language in python lua; do
      swig -Wall -Werror "-$language" "-I$headers" -outdir "$work" -o "$work/wrap_$language.c" "$work/millrace.i"
      grep -q mill_version "$work/wrap_$language.c" || { echo "headers: SWIG wrapped no mill_version"; exit 1; }
    done
    echo "headers: SWIG takes them without a warning (Python, Lua)"
    ;;

  *)
    echo "headers: unknown check '$check'"
    exit 1
    ;;
esac
