#!/bin/sh
# Runs a script with an interpreter, or says that the interpreter is missing (exit status 77).
#
#   script.sh INTERPRETER FILE [ARGUMENT ...]
set -eu
command -v "$1" >/dev/null 2>&1 || { echo "skipped: needs $1"; exit 77; }
exec "$@"
