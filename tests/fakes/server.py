"""A private adb server, the simulated phones beside it, and the environment that leads to both."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

from tests.fakes.phone import Phone
from tests.fakes.system import Model

START_SECONDS = 15.0
LEASHED = '"$0" -P "$1" server nodaemon </dev/null & server=$!; read never; kill $server'
"""Runs a server until standard input ends, which it does however the tests end."""
NOT_HANDED_ON = (
    *("ANDROID_SERIAL", "ANDROID_ADB_SERVER_ADDRESS", "ADB_SERVER_SOCKET", "ADB_TRACE"),
    "SAM_EXPORT_ADB",
)


class AdbError(Exception):
    """adb did not do what a test needs before it can begin."""


class AdbServer:
    """An `adb` server of the tests alone: own port, own keys, no USB, no emulators.

    Attributes:
        environment: for every process that calls `adb`.
    """

    def __init__(self, home: Path) -> None:
        found = shutil.which("adb")
        if found is None:
            raise AdbError("adb is not installed")
        self._adb = found
        self.environment = {k: v for k, v in os.environ.items() if k not in NOT_HANDED_ON}
        self.environment |= {
            "HOME": str(home),
            "ANDROID_USER_HOME": str(home / ".android"),
            "ANDROID_SDK_HOME": str(home),
            "ADB_VENDOR_KEYS": "",
            "ADB_USB": "0",
            "ADB_EMU": "0",
            "ADB_MDNS": "0",
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers. AdbError where it does not."""
        for _ in range(3):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
            self.environment["ANDROID_ADB_SERVER_PORT"] = str(self.port)
            self._process = subprocess.Popen(
                ["sh", "-c", LEASHED, self._adb, str(self.port)],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if self._answers(time.monotonic() + START_SECONDS):
                return
        raise AdbError(f"no adb server within {START_SECONDS:g} s")

    def stop(self) -> None:
        """Ends it as `adb kill-server` does, and makes sure."""
        if self._process is None:
            return
        self.adb("kill-server")
        self._process.communicate()

    def adb(
        self, *arguments: str | Path, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs the client; its output as text, its exit code unchecked."""
        return subprocess.run(
            [self._adb, *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=60,
            **({"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}),
        )

    def connect(self, phone: Phone) -> None:
        """Until the phone is there as `device`: what `adb connect` returns says nothing."""
        said, state = self._connect(phone.serial)
        if state != "device":
            # What adb remembers of a phone that was away keeps it offline.
            self.disconnect(phone)
            said, state = self._connect(phone.serial)
        if state != "device":
            raise AdbError(f"{phone.serial} is {state or 'not there'}: {said}")

    def disconnect(self, phone: Phone) -> None:
        """Forgets the phone."""
        self.adb("disconnect", phone.serial)

    def _connect(self, serial: str) -> tuple[str, str]:
        said = self.adb("connect", serial).stdout.strip()
        return said, self.adb("-s", serial, "get-state").stdout.strip()

    def _answers(self, until: float) -> bool:
        while self._process is not None and self._process.poll() is None:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            if time.monotonic() > until:
                self._process.communicate()
            time.sleep(0.01)
        return False


class Farm:
    """Makes phones; one thread serves them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._phones: list[Phone] = []

    def phone(self, model: Model) -> Phone:
        """A new one, listening, not connected."""
        root = self._folder / f"phone{len(self._phones)}"
        root.mkdir()
        phone = Phone(model, root, self._loop)
        self._phones.append(phone)
        return phone

    def close(self) -> None:
        """Closes every phone and ends the thread."""
        for phone in self._phones:
            phone.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
