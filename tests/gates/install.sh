#!/bin/sh
# What is installed must be enough: a C program is built against the installed tree alone, through pkg-config's file and
# through find_package, and runs.
#
#   install.sh BUILD
set -eu
build=$1
CC=${CC:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
cat >"$work/main.c" <<'EOF'
#include <millrace/millrace.h>
#include <stdio.h>
int main(void) {
  uint32_t major = 9, minor = 9, patch = 9;
  mill_version(&major, &minor, &patch);
  printf("%u.%u.%u\n", major, minor, patch);
  return !(major == MILL_VERSION_MAJOR && minor == MILL_VERSION_MINOR && patch == MILL_VERSION_PATCH);
}
EOF
pc=$(find "$work/prefix" -name millrace.pc)
libdir=$(dirname "$(dirname "$pc")")
if command -v pkg-config >/dev/null 2>&1; then
  flags=$(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs millrace)
else
  flags="-I$work/prefix/include -L$libdir -lmillrace"
fi
# shellcheck disable=SC2086  # a list of flags
"$CC" -std=c99 -o "$work/plain" "$work/main.c" $flags -Wl,-rpath,"$libdir"
"$work/plain"

mkdir "$work/user"
cat >"$work/user/CMakeLists.txt" <<'EOF'
cmake_minimum_required(VERSION 3.25)
project(user C)
find_package(millrace 0.1 REQUIRED)
add_executable(user ../main.c)
target_link_libraries(user millrace::millrace)
EOF
if ! cmake -G Ninja -S "$work/user" -B "$work/user/build" -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/log" 2>&1 ||
  ! cmake --build "$work/user/build" >>"$work/log" 2>&1; then
  cat "$work/log"
  exit 1
fi
"$work/user/build/user"
find "$work/prefix" -name LICENSE | grep -q . || { echo "install: the licence is not installed"; exit 1; }
