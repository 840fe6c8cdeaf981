"""What the tests of the iOS harness share: fake programs on PATH and a world that they act on."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.fakes.apple.world import WORLD, FakeDevice, World
from tests.ios_runner import built_runner
from tests.unit.runtimes.segment_kit import onnxruntime

ROOT = Path(__file__).parents[2]
SHORT = ("--runs", "3", "--seconds", "0", "--warmup", "0.1", "--repeats", "1", "--threads", "1")


def put_program(folder: Path, name: str) -> None:
    """A fake program `name`, run by this Python."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(
        f"#!{sys.executable} -S\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"from tests.fakes.apple.{name} import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    program.chmod(0o755)


def look_at(world: World, programs: Path, monkeypatch) -> None:
    """From here on, this process meets these programs and no others of their names."""
    monkeypatch.setenv(WORLD, str(world.folder))
    # The lock of a device: the same simulated phone may be another's too.
    monkeypatch.setattr(tempfile, "tempdir", str(world.folder.parent))
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    for name in ("SAM_EXPORT_IOS_RUNNER", "SAM_EXPORT_IOS_RUNNER_ID"):
        monkeypatch.delenv(name, raising=False)


def phone_world(tmp_path: Path, monkeypatch) -> World:
    """A world with one phone, which runs the Linux build of the runner; both programs are here."""
    runner = built_runner()
    world = World(tmp_path / "apple")
    world.folder.mkdir()
    world.add(FakeDevice())
    for name in ("xcrun", "pymobiledevice3"):
        put_program(tmp_path / "bin", name)
    look_at(world, tmp_path / "bin", monkeypatch)
    monkeypatch.setenv("SAM_FAKE_RUNNER", str(runner))
    monkeypatch.setenv("SAM_ONNXRUNTIME", str(onnxruntime()))
    monkeypatch.setenv("SAM_EXPORT_CACHE", str(tmp_path / "cache"))
    return world


def only_line(capsys) -> str:
    """The one line of stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    return line
