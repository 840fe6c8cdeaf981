"""Simulated phones for the tests of this folder; each test starts with nothing connected."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from android_harness.ways import Wanted
from android_harness.ways.capsule import Capsule
from exporter.progress import silent
from profiles import cli
from tests.device.android_kit import look_at
from tests.fakes import qemu
from tests.fakes.faults import Faults
from tests.fakes.phone import Phone
from tests.fakes.server import AdbError, AdbServer, Farm
from tests.fakes.system import ARM64, X86_64, Model
from tests.unit.tiny_bundle import build
from tests.workers import LINES

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
USELESS = {
    "everything": ("--runs", "--seconds", "--warmup", "--store"),
    "tracked-frame": ("--repeats", "--store"),
}
"""Options that a `--mode` refuses."""
SHORT = ("--runs", "3", "--seconds", "0", "--warmup", "0.2", "--repeats", "2", "--threads", "1")


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    """A private adb server. Skips where there is no adb."""
    try:
        server = AdbServer(tmp_path_factory.mktemp("adb-home"))
    except AdbError as error:
        pytest.skip(f"{error} (Debian: adb)")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def adb_environment(adb_server: AdbServer) -> dict[str, str]:
    """The environment for any process that shall see the simulated phones and nothing else."""
    return adb_server.environment


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Makes simulated phones."""
    farm = Farm(tmp_path_factory.mktemp("phones"))
    yield farm
    farm.close()


class Shelf:
    """Phones that wait for the next test."""

    def __init__(self, server: AdbServer, farm: Farm) -> None:
        self._server, self._farm = server, farm
        self._phones: dict[str, Phone] = {}
        self.lines: list[str] = []

    def lend(self, name: str, model: Model) -> Iterator[Phone]:
        """A phone as new, connected; disconnected afterwards."""
        phone = self._phones.get(name)
        if phone is None:
            phone = self._phones[name] = self._farm.phone(model)
            self.lines.append(f"simulated {name}: {phone.sandbox.name} {phone.sandbox.why}".strip())
        phone.reset()
        self._server.connect(phone)
        yield phone
        self._server.disconnect(phone)
        phone.reset()


@pytest.fixture(scope="session")
def shelf(adb_server: AdbServer, farm: Farm, request: pytest.FixtureRequest) -> Shelf:
    """Phones made once and used by many tests."""
    shelf = Shelf(adb_server, farm)
    request.config.stash[LINES] = shelf.lines
    return shelf


@pytest.fixture
def phone(shelf: Shelf) -> Iterator[Phone]:
    """An x86_64 phone, connected: programs run at native speed."""
    yield from shelf.lend("phone", X86_64)


@pytest.fixture
def second_phone(shelf: Shelf) -> Iterator[Phone]:
    """Another x86_64 phone, connected."""
    yield from shelf.lend("second_phone", X86_64)


@pytest.fixture
def phone_arm64(shelf: Shelf) -> Iterator[Phone]:
    """An arm64 phone, connected: its programs run under qemu. Skips where none can."""
    if qemu.missing():
        pytest.skip(qemu.missing())
    yield from shelf.lend("phone_arm64", ARM64)


@pytest.fixture
def faults(phone: Phone) -> Faults:
    """What goes wrong with `phone`."""
    return phone.faults


@pytest.fixture
def shell(adb_server: AdbServer, phone: Phone) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`adb shell LINE` on `phone`; `stdin=` is its standard input."""
    return lambda line, **more: adb_server.adb("-s", phone.serial, "shell", line, **more)


@pytest.fixture
def sam_bench(
    phone: Phone,
    adb_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[..., int]:
    """`sam-bench ARGUMENTS` on `phone`, with the store p.jsonl of its own; its exit status.

    `device=` is another device; empty for words that measure nothing.
    """
    look_at(adb_environment, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))  # HOME is the test server's now
    missing = Capsule().missing(Wanted("x86_64", "onnx", "cpu"))
    if missing:
        pytest.skip(missing)
    monkeypatch.setattr(cli, "on_stderr", lambda: silent)
    store = ("--store", str(tmp_path / "p.jsonl"))

    def run(*arguments: object, device: str = f"android:{phone.serial}") -> int:
        words = [str(argument) for argument in arguments]
        if not device:
            return cli.main([*words, *store])
        usual = [*SHORT, "--cores", "all", *store]
        pairs = zip(usual[::2], usual[1::2], strict=True)
        useless = {option for mode in USELESS if mode in words for option in USELESS[mode]}
        kept = [word for pair in pairs if pair[0] not in {*words, *useless} for word in pair]
        return cli.main([*kept, "--device", device, *words])

    return run


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX bundle of two small graphs."""
    made = tmp_path_factory.mktemp("bundles") / "tiny-onnx-fp32"
    build(made)
    return made
