#!/bin/sh
# Runs git in a session, and so a process group, of its own. INT, TERM or HUP ends the whole group at once: ending git alone
# would leave its helpers (ssh, a wrapper's children, checkout workers) holding the pipes, and whoever waits for git with them.
set -- git "$@"
# For work that nobody waits for.
[ -z "$GROUP_NICE" ] || set -- nice -n "$GROUP_NICE" "$@"
if command -v setsid >/dev/null 2>&1; then
  setsid "$@" &
else
  "$@" &
fi
leader=$!
# Without a group yet (the moment before setsid) or at all, the process itself is what can be ended.
trap 'kill -KILL -"$leader" 2>/dev/null || kill -KILL "$leader" 2>/dev/null; wait "$leader"; exit 130' INT TERM HUP
wait "$leader"
