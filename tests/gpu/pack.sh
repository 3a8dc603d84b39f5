#!/bin/sh
# Collects what tests/gpu/run.sh needs on a machine with a GPU: the libraries, the test programs with GoogleTest inside,
# samples and timings, stripped, in one folder that git ignores.
#
#   pack.sh [--preset NAME] [--no-build] [--cuda FILE] [--without-sim] [--out DIR]
#
#   --preset       the build it takes from: cuda where a CUDA toolkit is, otherwise test
#   --no-build     takes what that build has
#   --cuda FILE    this libmillrace_cuda.so instead of the build's
#   --without-sim  leaves the simulated device out
#   --out DIR      build/gpu-pack unless given
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
limit_mib=60
preset='' build=yes cuda='' sim=yes out=$root/build/gpu-pack
die() {
  printf 'pack: %s\n' "$*" >&2
  exit 1
}
while [ $# -gt 0 ]; do
  case $1 in
    --preset) preset=${2:-}; shift 2 || die "--preset needs a name" ;;
    --cuda) cuda=${2:-}; shift 2 || die "--cuda needs a file" ;;
    --out) out=${2:-}; shift 2 || die "--out needs a folder" ;;
    --no-build) build=; shift ;;
    --without-sim) sim=; shift ;;
    *) die "'$1' is not known; the head of $0 says what is" ;;
  esac
done
if [ -z "$preset" ]; then
  preset='test'
  if command -v nvcc >/dev/null 2>&1 || [ -x /usr/local/cuda/bin/nvcc ]; then preset=cuda; fi
fi
case $preset in
  cuda) tree=$root/build/release ;; # beside what ships
  *) tree=$root/build/$preset ;;
esac

if [ -n "$build" ]; then
  { [ -f "$tree/build.ninja" ] && grep -q '^MILL_TESTS:BOOL=ON' "$tree/CMakeCache.txt"; } || (cd "$root" && cmake --preset "$preset" >/dev/null) || die "configuring $preset failed"
  targets="conformance_tests gradient_tests gpu_tests gpu_stream_tests gpu_timings sample_overlap sample_char_mlp sample_xor"
  if [ -n "$sim" ]; then targets="$targets millrace_sim"; fi
  if grep -q '^build millrace_cuda:' "$tree/build.ninja"; then targets="$targets millrace_cuda cuda_tests"; fi
  # shellcheck disable=SC2086  # a list
  ninja -C "$tree" $targets || die "the build failed"
fi

# A folder of this name that is no pack is somebody's.
if [ -d "$out" ] && [ ! -f "$out/manifest" ] && [ -n "$(ls -A "$out")" ]; then
  die "$out is there and is no pack"
fi
rm -rf "$out"
mkdir -p "$out/bin" "$out/lib" "$out/fallback"
: >"$out/manifest"

take() { # FILE FOLDER [NAME]
  [ -f "$1" ] || die "$1 is not built"
  cp -L "$1" "$out/$2/${3:-$(basename "$1")}"
  strip --strip-unneeded "$out/$2/${3:-$(basename "$1")}"
}
for library in "$tree"/lib/libmillrace.so.*.*; do
  if [ -h "$library" ]; then take "$library" lib; fi
done
ls "$out"/lib/libmillrace.so.* >/dev/null 2>&1 || die "$tree/lib has no libmillrace.so"
if [ -n "$sim" ]; then take "$tree/lib/libmillrace_sim.so" lib; fi
plugin=${cuda:-$tree/lib/libmillrace_cuda.so}
if [ -f "$plugin" ]; then
  take "$plugin" lib libmillrace_cuda.so
elif [ -n "$cuda" ]; then
  die "$cuda is not there"
else
  echo "pack: without the CUDA device, which this build does not have"
fi
for program in conformance gradient_tests gpu_tests gpu_stream_tests gpu_timings; do take "$tree/tests/$program" bin; done
if [ -f "$tree/tests/cuda_tests" ]; then take "$tree/tests/cuda_tests" bin; fi
for program in overlap char_mlp xor; do take "$tree/samples/$program" bin; done

# The C library must be the machine's own; the others go along, to be used where it lacks them.
needs=$(LD_LIBRARY_PATH="$out/lib" ldd "$out"/bin/* "$out"/lib/* | sed -n 's/^[[:space:]]*\(lib[^ ]*\) => \(.*\) (.*/\1 \2/p' | sort -u)
others=$(printf '%s\n' "$needs" | grep -v -E '^(libmillrace|libc\.|libm\.|libdl\.|libpthread\.|librt\.)' || true)
printf '%s\n' "$others" | while read -r name path; do
  if [ -n "$name" ]; then cp -L "$path" "$out/fallback/$name"; fi
done
glibc=$(objdump -T "$out"/bin/* "$out"/lib/* | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
commit=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
if [ -n "$(git -C "$root" status --porcelain 2>/dev/null)" ]; then commit="$commit, with changes"; fi
{
  echo "commit $commit"
  echo "packed $(date -u +%Y-%m-%dT%H:%M:%SZ) from preset $preset"
  echo "compiler $(c++ --version | head -n 1)"
  echo "glibc $glibc or newer"
  printf '%s\n' "$others" | sed 's/^\([^ ]*\).*/needs \1, carried in fallback/'
  echo "fallback from $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release 2>/dev/null)"
} >"$out/manifest"
size=$(du -sm "$out" | cut -f 1)
du -k "$out"/bin/* "$out"/lib/* "$out"/fallback/* | awk -v n=${#out} '{printf "%9.2f MiB  %s\n", $1 / 1024, substr($2, n + 2)}'
cat "$out/manifest"
echo "pack: $out, $size MiB of $limit_mib"
[ "$size" -le "$limit_mib" ] || die "too large to be carried; --without-sim makes it smaller"
