"""Where downloads are kept, whatever the environment names."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.cache import default_cache
from exporter.errors import RequestError


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"SAM_EXPORT_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/sam-export"),
        ({"SAM_EXPORT_CACHE": "", "XDG_CACHE_HOME": ""}, "/home/x/.cache/sam-export"),
    ],
)
def test_the_nearest_setting_decides(monkeypatch, environment, folder):
    monkeypatch.setenv("HOME", "/home/x")
    assert default_cache(environment) == Path(folder)


@pytest.mark.parametrize("home", ["", None])
def test_no_home_is_a_request_error(monkeypatch, home):
    def nobody():
        if home is None:
            raise RuntimeError("Could not determine home directory.")
        return Path(home)

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(RequestError, match=r"no home folder .* set SAM_EXPORT_CACHE or HOME"):
        default_cache({})
