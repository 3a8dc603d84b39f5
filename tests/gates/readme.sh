#!/bin/sh
# The program in README.md is one: built from the page's own text, by the page's own commands, as strict C99, it runs and
# prints the product.
#
#   readme.sh BUILD ROOT     BUILD: a build tree that has the library
#
# Exit status: 0 as it should be, 1 not.
set -eu
build=$1
readme=$2/README.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong() { echo "readme: $*"; exit 1; }

# The first block of README.md in a language.
block() { awk -v fence="\`\`\`$1" 'done {next} $0 == fence {inside = 1; next} inside && /^```/ {done = 1; next} inside' "$readme"; }

block c >"$work/prog.c"
block sh >"$work/commands"
grep -q 'int main' "$work/prog.c" || wrong "no block in C is a whole program"
for command in './mill build' 'cmake --install build/release' 'cc prog.c'; do
  grep -q -F "$command" "$work/commands" || wrong "no block in sh says '$command'"
done

# Stand-ins for what the reader has: a checkout that is built, a home and a compiler, which is stricter here.
mkdir "$work/build" "$work/bin" "$work/home"
ln -s "$build" "$work/build/release"
printf '#!/bin/sh\n' >"$work/mill"
compiler=$(command -v "${CC:-cc}")  # as a path: the stand-in has the same name
printf '#!/bin/sh\nexec "%s" -std=c99 -Wall -Wextra -Wpedantic -Werror "$@"\n' "$compiler" >"$work/bin/cc"
chmod +x "$work/mill" "$work/bin/cc"
if ! (cd "$work" && HOME=$work/home PATH=$work/bin:$PATH sh -eu ./commands) >"$work/log" 2>&1; then
  cat "$work/log"
  wrong "its commands fail"
fi
tail -n 2 "$work/log" >"$work/said"
printf '7 10\n15 22\n' | cmp -s - "$work/said" || { cat "$work/log"; wrong "its program does not print the product"; }
lines=$(wc -l <"$readme")
[ "$lines" -le 105 ] || wrong "$lines lines, more than two screens"
echo "readme: the program builds by the page's commands and prints the product"
