#!/bin/sh
# Builds the supervisor, the copier of clones and the scanner of trees beside their sources, where there is a C compiler and a
# Linux. Never fails: without them the service says at its start that jobs are held together by their process group alone, and
# that git makes the clones; git then looks for changes too. With --strict a failure is one (the image).
set -u
cd "$(dirname "$0")" || exit 1

sources() {
  case $1 in
    copytree) echo copytree.c renewal.c git-index.c listing.c ;;
    scantree) echo scantree.c git-index.c ;;
    *) echo "$1.c" ;;
  esac
}

build() {
  # Static: half the memory per job and half the time to start. Not every C library comes in that form.
  for linking in -static ''; do
    # shellcheck disable=SC2046,SC2086 # several arguments; empty must be none
    "${CC:-cc}" -std=c11 -O2 -Wall -Wextra -pthread $linking -o "$1.new" $(sources "$1") 2>build.log && mv "$1.new" "$1" && return 0
  done
  cat build.log >&2
  return 1
}

failed=
for program in supervise copytree scantree; do
  # by rename: one that is running cannot be written to
  if [ "$(uname -s)" = Linux ] && command -v "${CC:-cc}" >/dev/null && build "$program"; then continue; fi
  failed=yes
  echo "$program not built: there is no C compiler for Linux here, or it failed" >&2
done
rm -f build.log supervise.new copytree.new scantree.new
[ -z "$failed" ] || [ "${1:-}" != --strict ]
