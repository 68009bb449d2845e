#!/usr/bin/env bash
# A client library, unmodified: that of Python, in library.py.
story=library
. "$(dirname "$0")/../e2e/lib.sh"
plan 38

start_cluster 1
KUBECONFIG=$("$minik8s" cluster kubeconfig)
export KUBECONFIG
timeout 120 /usr/bin/python3 test/client/library.py >"$work/out" 2>"$work/trace"
status=$?
cat "$work/out"
[ ! -s "$work/trace" ] || note "$(tail -n 12 "$work/trace")"
tests=$(grep -cE '^(not )?ok ' "$work/out")
failures=$(grep -c '^not ok ' "$work/out")
[ $status = 0 ] || failures=$((failures + 1))
