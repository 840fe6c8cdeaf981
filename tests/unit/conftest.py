from __future__ import annotations

import pytest
from PIL import Image

from exporter.bundle.folder import open_bundle
from tests.unit.small_pictures import RGB
from tests.unit.tiny_bundle import build


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A sealed tiny bundle; shared, so no test may change it."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny-onnx-fp32"
    build(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """The same, opened."""
    return open_bundle(tiny_folder)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder with `dog.png` in it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RGB).save("dog.png")
    return tmp_path


@pytest.fixture
def command_on_tiny(tiny_folder, here, capsys):
    """Make what runs a command on the tiny bundle: exit status, stdout, stderr."""

    def of(main):
        def call(*arguments, bundle=tiny_folder):
            try:
                status = main([str(bundle), *map(str, arguments)])
            except SystemExit as stop:
                status = stop.code
            captured = capsys.readouterr()
            return status, captured.out, captured.err

        return call

    return of
