"""Child processes for the demo and the benchmark: started, waited for, shown when they fail, always ended.

Standard library only: these run before anything is installed.
"""

import atexit
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Failed(Exception):
    """A step did not work. `log` is what explains it; it is shown at its end."""

    def __init__(self, what, log=""):
        super().__init__(what)
        self.log = log


class Child:
    """A process in a group of its own, whose output is kept in memory (its last 200 000 characters)."""

    all = []

    def __init__(self, name, command, env=None, cwd=None):
        self.name = name
        self.output = ""
        self.lock = threading.Lock()
        try:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                env={**os.environ, **(env or {})},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches this script alone, which then ends its children in order.
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"{name} cannot be started: {error}") from error
        Child.all.append(self)
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self):
        return self.process.pid

    def _read(self):
        for line in self.process.stdout:
            with self.lock:
                self.output = (self.output + line.decode(errors="replace"))[-200_000:]

    def wait_for(self, pattern, limit=30.0):
        """Waits for a line with that pattern; returns the match."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            running = self.process.poll() is None
            with self.lock:
                found = re.search(pattern, self.output)
            if found:
                return found
            if not running:
                raise Failed(f"{self.name} ended with code {self.process.returncode}", self.output)
            time.sleep(0.002)
        raise Failed(f"{self.name}: no `{pattern}` within {limit:g} s", self.output)

    def alive(self):
        return self.process.poll() is None

    def stop(self, limit=10.0):
        """Asks it to end, then ends its whole group. Returns the exit code."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if self.alive():
                try:
                    self.process.send_signal(sign)
                    self.process.wait(limit)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        if self in Child.all:
            Child.all.remove(self)
        return self.process.returncode


def stop_all():
    """Ends every child that still runs, the last started first."""
    for child in reversed(Child.all[:]):
        child.stop()


atexit.register(stop_all)


def end_on_signals():
    """SIGTERM and SIGHUP end this script as Ctrl-C does, so that it cleans up."""

    def interrupt(*_):
        raise KeyboardInterrupt

    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, interrupt)


def temporary_folder(name):
    """A folder that is gone when this script ends."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"trunkline-{name}-"))
    atexit.register(lambda: (stop_all(), shutil.rmtree(folder, ignore_errors=True)))
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, child, limit=30.0):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if not child.alive():
                raise Failed(f"{child.name} ended with code {child.process.returncode}", child.output) from None
            time.sleep(0.05)
    raise Failed(f"{child.name} does not listen on port {port}", child.output)


def run(*command, what=None, env=None, stream=False):
    """Runs a command to its end and returns its stdout. `stream`: what it prints is seen as it comes."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=None if stream else subprocess.PIPE,
            stderr=None if stream else subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        raise Failed(f"{what or command[0]}: {error}") from error
    output = "" if stream else done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise Failed(f"{what or ' '.join(command)}: exit code {done.returncode}", output)
    return output


def target_folder():
    """Where cargo puts what it builds."""
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def fail(error):
    """Says why, with the end of the log, and returns the exit code."""
    print(f"\nFAILED: {error}", file=sys.stderr)
    tail = error.log.strip().splitlines()[-25:]
    if tail:
        print("--- the end of its log ---", *tail, sep="\n", file=sys.stderr)
    return 1
