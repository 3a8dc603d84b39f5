#!/bin/sh
# run.sh must count what its steps do and go on after one that fails: a pack of small scripts stands for the programs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
command -v timeout >/dev/null 2>&1 || { echo "skipped: needs timeout"; exit 77; }
command -v ldd >/dev/null 2>&1 || { echo "skipped: needs ldd"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/pack/bin" "$work/pack/lib" "$work/pack/fallback" "$work/tools"
echo "commit none" >"$work/pack/manifest"
bad=0

program() { # NAME BODY
  printf '#!/bin/sh\n%s\n' "$2" >"$work/pack/bin/$1"
  chmod +x "$work/pack/bin/$1"
}
ok_case='echo "[       OK ] A.B (1 ms)"'
good_pack() {
  program conformance "case \$1 in
    test) $ok_case; $ok_case; echo '[  SKIPPED ] A.C (0 ms)' ;;
    grad) echo '7 passed, 0 failed, on x' ;;
    *) echo fine ;;
  esac"
  program gradient_tests "$ok_case"
  program gpu_tests "$ok_case"
  program gpu_stream_tests "$ok_case"
  program gpu_timings 'for a; do last=$a; done
    case "$*" in
      *--info*) echo "x: a device" ;;
      *) echo "op,add,f32,16x64,2.5,4.0,GB/s" >"$last"; echo "4 passed, 0 failed" ;;
    esac'
  program overlap 'echo fine'
  program char_mlp 'echo fine'
}
# Neither a GPU nor PyTorch of the machine that this runs on.
printf '#!/bin/sh\nexit 9\n' >"$work/tools/nvidia-smi"
cat >"$work/tools/python3" <<'EOF'
#!/bin/sh
[ "$1" = -c ] && exit 0
for a; do last=$a; done
echo "op,add,f32,16x64,1.5,8.0,GB/s" >"$last"
echo "op,gelu,f32,16x64,1.0,9.0,GB/s" >>"$last"
EOF
printf '#!/bin/sh\necho "========= Error: Device not supported"\nexit 1\n' >"$work/tools/compute-sanitizer"
chmod +x "$work"/tools/*

# try NAME STATUS ARGUMENT...: what the table must have follows by `has`.
try() {
  name=$1 expected=$2
  shift 2
  rm -rf "$work/out"
  code=0
  PATH="$work/tools:$PATH" sh "$here/run.sh" --out "$work/out" "$@" "$work/pack" >"$work/said" 2>&1 || code=$?
  if [ "$code" -ne "$expected" ]; then
    echo "run self-test: $name: status $code, must be $expected"
    cat "$work/said"
    bad=1
  fi
  cat "$work"/out/*.md >"$work/table" 2>/dev/null || : >"$work/table"
}
has() {
  if ! grep -q -e "$1" "$work/table"; then
    echo "run self-test: $name: no row like '$1'"
    cat "$work/table"
    bad=1
  fi
}

good_pack
try "all is well" 0
has '^| conformance test | 2 | 0 | 1 |'
has '^| conformance grad | 28 | 0 | 0 |'
has '^| mixed precision | 1 | 0 | 0 |'
has '^| loader pipeline | 1 | 0 | 0 |'
has '^| memcheck | 0 | 0 | 1 | 0 | compute-sanitizer: Error: Device not supported |'
has '^| sample overlap | 1 | 0 | 0 |.* fine |'
has '^| timings | 4 | 0 | 0 |'
has '^| op: add | f32 | 16x64 | 2.5 | 4.0 GB/s | 1.5 | 8.0 GB/s |'
has '^| op: gelu | f32 | 16x64 | | | 1.0 | 9.0 GB/s |'

try "simulated" 0 --device sim --quick
has '^| conformance grad | 14 | 0 | 0 |'
has '^| memcheck | 0 | 0 | 1 | 0 | the device is simulated'

try "one part" 0 --device sim --quick --part 1
has '^| conformance test | 2 |'
if grep -q timings "$work/table"; then
  echo "run self-test: part 1 has a row of part 3"
  bad=1
fi

good_pack
program conformance "$ok_case; echo '[  FAILED  ] A.D, where GetParam() = 5 (0 ms)'; exit 1"
try "a case fails" 1 --device sim --quick
has '^| conformance test | 1 | 1 | 0 |.*A.D'
has '^| timings | 4 | 0 | 0 |'

good_pack
program gpu_stream_tests "$ok_case; kill -SEGV \$\$"
try "a program crashes" 1 --device sim --quick --part 2
has '^| streams and events | 1 | 1 | 0 |.*status'
has '^| racecheck | 0 | 0 | 1 |'

good_pack
program gpu_stream_tests 'echo nothing'
try "nothing runs" 1 --device sim --quick --part 2
has '^| streams and events | 0 | 1 | 0 |.*nothing ran'

good_pack
program gpu_timings 'echo "mill_device_open: no NVIDIA driver"; exit 77'
try "no driver" 77
has '^| conformance test | 0 | 0 | 1 | 0 | mill_device_open: no NVIDIA driver |'
has '^| PyTorch | 0 | 0 | 1 | 0 | mill_device_open: no NVIDIA driver |'

printf '#!/bin/sh\necho "GPU 0: some"\n' >"$work/tools/nvidia-smi"
try "a GPU that cannot be opened" 1
has '^| opening the device | 0 | 1 | 0 |'

good_pack
printf '#!/bin/sh\ncase "$*" in *--info*) exit 0 ;; esac\n%s\nexit 86\n' "$ok_case" >"$work/tools/compute-sanitizer"
try "a sanitizer that finds" 1 --device cuda --quick --part 2
has '^| memcheck | 1 | 1 | 0 |.*status 86'

[ "$bad" -eq 0 ] && echo "run self-test: passed"
exit "$bad"
