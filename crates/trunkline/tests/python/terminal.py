"""A person at a terminal: `terminal.py PLAN PROGRAM ARG…`, PLAN being JSON, `[[text to wait for, line to type], …]`. Prints
JSON: all that the terminal showed, and the exit code."""

import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import termios
import time

plan = json.loads(sys.argv[1])
ours, theirs = pty.openpty()
child = subprocess.Popen(
    sys.argv[2:],
    stdin=theirs,
    stdout=theirs,
    stderr=theirs,
    start_new_session=True,
    # The terminal of its session: secrets are asked for there.
    preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
)
os.close(theirs)
shown = b""
at = 0
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    if select.select([ours], [], [], 0.2)[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    if plan:
        found = shown.find(plan[0][0].encode(), at)
        if found >= 0:
            at = found + len(plan[0][0].encode())
            # Nobody types in the moment in which the question is printed, and the echo is not off yet.
            time.sleep(0.5)
            os.write(ours, plan.pop(0)[1].encode() + b"\n")
if plan:
    child.kill()
print(json.dumps({"shown": shown.decode(errors="replace"), "code": child.wait(timeout=10), "left": plan}))
