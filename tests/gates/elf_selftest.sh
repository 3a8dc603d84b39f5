#!/bin/sh
# The ELF gate must be able to fail: a good library passes, and each flaw is seen.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
CXX=${CXX:-g++}
command -v "$CXX" >/dev/null 2>&1 || { echo "skipped: needs a C++ compiler"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
good="-shared -fPIC -fvisibility=hidden -Wl,-soname,libmillrace.so.0.9 -Wl,-z,nodelete -Wl,-z,now"
api='extern "C" __attribute__((visibility("default")))'

# case NAME TEXT-THAT-MUST-APPEAR SOURCE FLAG...; an empty text means that the library is to pass
check() {
  name=$1 text=$2
  printf '%s\n' "$3" >"$work/$name.cpp"
  shift 3
  "$CXX" -o "$work/$name.so" "$work/$name.cpp" "$@"
  code=0
  output=$(MILL_SIZE_LIMIT=${limit:-100000} sh "$here/elf.sh" "$work/$name.so") || code=$?
  [ "$code" -ne 77 ] || { echo "$output"; exit 77; }
  if [ -z "$text" ]; then
    [ "$code" -eq 0 ] || { echo "elf self-test: $name should pass: $output"; bad=1; }
  else
    case $code:$output in
      1:*"$text"*) ;;
      *) echo "elf self-test: $name: '$text' not reported (status $code): $output"; bad=1 ;;
    esac
  fi
}
f="$api int mill_f() { return 1; }"
# shellcheck disable=SC2086  # $good is a list of flags
{
  check clean "" "$f" $good
  check foreign "exports beside mill_" "$f $api int other() { return 2; }" $good
  check data "not plain functions" "$f $api int mill_x; int mill_x = 3;" $good
  check weak "not plain functions" "$f $api __attribute__((weak)) int mill_w() { return 4; }" $good
  check soname "soname is" "$f" -shared -fPIC -fvisibility=hidden -Wl,-z,nodelete -Wl,-z,now
  check nodelete "NODELETE" "$f" -shared -fPIC -fvisibility=hidden -Wl,-soname,libmillrace.so.0.9 -Wl,-z,now
  check lazy "not immediate" "$f" -shared -fPIC -Wl,-soname,libmillrace.so.0.9 -Wl,-z,nodelete -Wl,-z,lazy
  check rpath "is set" "$f" $good -Wl,-rpath,/nowhere
  check tls "STATIC_TLS" "static __thread int t __attribute__((tls_model(\"initial-exec\"))); $api int* mill_t() { return &t; }" $good
  check starter "start-up initialisers" "#include <string>
static std::string s(100, 'x'); $api const char* mill_s() { return s.c_str(); }" $good
  limit=100 check size "bytes stripped" "$f" $good
}
[ "$bad" -eq 0 ] && echo "elf self-test: every planted flaw was seen"
exit "$bad"
