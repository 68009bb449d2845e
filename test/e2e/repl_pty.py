"""Types into minikubectl repl on a terminal: python3 repl_pty.py PROGRAM; prints one line per step that worked."""
import os
import pty
import select
import sys
import time

LIMIT_S = 30
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], ["minikubectl", "repl"])
seen = b""


def until(text):
    global seen
    end = time.monotonic() + LIMIT_S
    while text not in seen:
        if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            sys.exit(f"no {text!r} within {LIMIT_S} s, but {seen[-300:]!r}")
        seen += os.read(terminal, 65536)
    seen = seen[seen.index(text) + len(text):]


def step(name, typed, *answers):
    os.write(terminal, typed.encode())
    for answer in answers:
        until(answer)
    print(name, flush=True)


PROMPT = b"minik8s> "
until(PROMPT)
step("multi-line", "40 +\n", b"..> ")
step("value", "2\n", b"42\r\n", PROMPT)
step("loop", "while true do print('turning') end\n", b"turning\r\nturning")
step("interrupt", "\x03", b"error: interrupted", PROMPT)
step("watch", "k.watch{kind='nodes', all=true}\n", b"ADDED")
step("interrupt-watch", "\x03", b"error: interrupted", PROMPT)
step("complete-kind", "k.deploym\t", b"ents")
step("complete-name", "{name=\"we\t", b"b")
step("columns", "\"}\n", b"REPLICAS", b"web", PROMPT)
step("drop", "for i = 1, 2 do\x03", b"^C", PROMPT)
step("error-goes-on", "nothing()\n", b"error: ", PROMPT)
step("history", "\x10\x10\n", b"REPLICAS", PROMPT)

os.write(terminal, b"\x04")
try:
    until(b"never said: it ends")
except OSError:  # the other side is closed
    print("leave")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
