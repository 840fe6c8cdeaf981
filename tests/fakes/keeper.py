"""The process that keeps a sandbox's namespaces alive between commands."""

from __future__ import annotations

import json
import os
import select
import subprocess

from tests.fakes.launch import only_child

START_SECONDS = 10.0
INFO = "INFO"
"""Stands in a command where the number of the pipe belongs on which bubblewrap tells its facts."""
WAIT = ("/system/bin/sh", "-c", "echo ready; read never")
"""What it runs in there. It ends with the tests at the latest: its standard input does."""


class SandboxError(Exception):
    """This kind of sandbox does not work here."""


class Keeper:
    """A running bubblewrap.

    Attributes:
        pid: of the sandbox's first process, on this host.
        pid_namespace: number of the sandbox's process namespace.
        own: pids that belong to the sandbox itself.
    """

    def __init__(self, argv: list[str]) -> None:
        ours, theirs = os.pipe()
        self._process = subprocess.Popen(
            [str(theirs) if word == INFO else word for word in (*argv, *WAIT)],
            pass_fds=(theirs,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        with os.fdopen(ours, "rb") as told:
            if self._first_line() != b"ready\n":
                self._process.kill()
                said = self._process.communicate()[1].decode(errors="replace").strip()
                raise SandboxError(f"{argv[0]}: {said or 'no answer'}")
            facts = json.loads(told.read())
        self.pid: int = facts["child-pid"]
        self.pid_namespace: int = facts["pid-namespace"]
        self.own = {self.pid, only_child(self.pid)}

    def close(self) -> None:
        """Ends the first process; the kernel ends the rest."""
        self._process.kill()
        self._process.communicate()

    def _first_line(self) -> bytes:
        if self._process.stdout is None:
            return b""
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        return self._process.stdout.readline() if ready else b""
