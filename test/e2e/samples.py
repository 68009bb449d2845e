#!/usr/bin/env python3
# samples.py FILE: reads a watch of pods (one JSON event a line) from standard input and looks every 10 ms at how many of them are
# available (ready, not being deleted) and how many there are (not being deleted), and at how many processes called "web" the
# kernel has. Each time FILE gets a new content it is the name of a new phase. At the end of the input prints, a line each:
# PHASE SAMPLES LEAST-AVAILABLE MOST-PODS LEAST-PROCESSES.
import json
import os
import select
import sys
import time

PERIOD = 0.010
pods, processes, known = {}, set(), set()


def take(line):
    event = json.loads(line)
    pod = event["object"]
    uid = pod["metadata"].get("uid")
    if event["type"] == "DELETED" or pod["metadata"].get("deletionTimestamp") or not uid:
        pods.pop(uid, None)
        return
    conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", [])}
    pods[uid] = conditions.get("Ready") == "True"


def look_for_processes():
    now = {name for name in os.listdir("/proc") if name.isdigit()}
    for pid in now - known:
        try:
            with open(f"/proc/{pid}/comm") as file:
                if file.read() == "web\n":
                    processes.add(pid)
            # A child is called as its parent until it is another program: looked at again while it is young.
            if time.time() - os.stat(f"/proc/{pid}").st_mtime > 1:
                known.add(pid)
        except OSError:
            pass  # it has ended
    known.intersection_update(now)
    processes.intersection_update(now)


def main():
    phases, rest, due = {}, b"", time.monotonic()
    os.set_blocking(0, False)
    while True:
        wait = max(0, due - time.monotonic())
        if select.select([0], [], [], wait)[0]:
            data = os.read(0, 1 << 20)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                take(line)
            continue
        due = max(due + PERIOD, time.monotonic() - 0.1)
        with open(sys.argv[1]) as file:
            phase = file.read().strip()
        if not phase:
            continue
        look_for_processes()
        count, least, most, fewest = phases.get(phase, (0, 10**6, 0, 10**6))
        phases[phase] = (count + 1, min(least, sum(pods.values())), max(most, len(pods)), min(fewest, len(processes)))
    for phase, numbers in phases.items():
        print(phase, *numbers)


main()
