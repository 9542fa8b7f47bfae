#!/bin/sh
# Builds the supervisor beside its source, where there is a C compiler and a Linux. Never fails: without it the service says
# at its start that jobs are held together by their process group alone. With --strict a failure is one (the image).
set -u
cd "$(dirname "$0")" || exit 1

build() {
  # Static: half the memory per job and half the time to start. Not every C library comes in that form.
  for linking in -static ''; do
    # shellcheck disable=SC2086 # empty must be no argument
    "${CC:-cc}" -std=c11 -O2 -Wall -Wextra $linking -o supervise.new supervise.c 2>build.log && return 0
  done
  cat build.log >&2
  return 1
}

if [ "$(uname -s)" = Linux ] && command -v "${CC:-cc}" >/dev/null && build; then
  mv supervise.new supervise # by rename: one that is running cannot be written to
  rm -f build.log
  exit 0
fi
rm -f build.log supervise.new
echo 'supervisor not built: there is no C compiler for Linux here, or it failed' >&2
[ "${1:-}" != --strict ]
