#!/bin/sh
# Installs what test/sdk needs beyond `npm ci`: the clients for Python, and those for Node that are too heavy for everybody.
# Needs npm and Python 3.11 or newer with its venv. Does each as far as it can; the exit code tells whether all of it is there.
cd "$(dirname "$0")" || exit 1

code=0
npm ci --prefix clients --ignore-scripts --no-audit --no-fund || code=1

# Everything is pinned, so nothing is to be resolved.
if python3 -m venv --clear python/.venv; then
  python/.venv/bin/python -m pip install -qq --retries 1 --no-deps -r python/requirements.txt || code=1
else
  code=1
fi
# What is half there is not there: the tests would fail for want of it, and not say so.
python/.venv/bin/python -c 'import aiohttp, httpx2, openai, pydantic' || { rm -rf python/.venv; code=1; }
exit "$code"
