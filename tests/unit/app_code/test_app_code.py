"""What stands beside a bundle for an app: whole, no part of the bundle, free to change."""

from __future__ import annotations

import dataclasses
import re
import shutil

import pytest

from exporter import targets
from exporter.app_code import PACKAGES, RUNTIMES, app_sources, page, pages_of, put_app_code
from exporter.bundle.folder import APP_CODE, PAGE, open_bundle, read_manifest
from exporter.errors import BundleError
from tests.unit import tiny_bundle, video_bundle


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "tiny-onnx-fp32"
    tiny_bundle.build(made)
    put_app_code(made, read_manifest(made), made.name)
    return made


def test_every_target_that_our_packages_run_says_how_an_app_uses_it() -> None:
    assert {package for name in targets.names() for package in pages_of(name)} == set(PACKAGES)
    assert set(PACKAGES) == set(APP_CODE)
    assert [name for name in targets.names() if not pages_of(name)] == []
    assert pages_of("nonsense") == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_source_is_all_that_the_project_file_names(package: str) -> None:
    names = list(app_sources(package))
    assert len(names) > 20
    assert not [
        name for name in names if re.search(r"(?i)tests?/|golden.?vector|onnxruntime\.c|jvm/", name)
    ]
    published = (RUNTIMES / package / PACKAGES[package].project).read_text()
    project = (RUNTIMES.parent / "exporter" / "app_code" / PACKAGES[package].project).read_text()
    for part in re.findall(r'(?<=target\(name: ")\w+|(?<=":)\w+', project):
        assert part in published
        assert any(f"{part}/" in name for name in names), part
    # What both say is said alike: the lines that differ only leave parts out.
    assert len(set(project.splitlines()) - set(published.splitlines())) <= 3


def test_a_bundle_takes_its_package_along(folder) -> None:
    for name in app_sources("kotlin"):
        assert (folder / "kotlin" / name).read_bytes() == (RUNTIMES / "kotlin" / name).read_bytes()
    assert (folder / "kotlin" / "settings.gradle.kts").is_file()
    assert not (folder / "swift").exists()


def test_the_page_tells_sizes_licence_and_the_lines_to_write(folder) -> None:
    manifest = read_manifest(folder)
    text = (folder / PAGE).read_text()
    assert text == page(manifest, folder.name)
    for graph in manifest.graphs:
        assert f"| `{graph.file}` | {graph.spec.name} | {graph.bytes / 1e6:.2f} MB |" in text
    assert f"[{manifest.licence.name}]({manifest.licence.url})" in text
    assert f'bundleFromAssets(context, "{folder.name}")' in text
    assert "BUNDLE" not in text
    assert "Degraded" not in text


def test_no_part_of_the_bundle_is_changed_by_it(folder, tmp_path) -> None:
    bare = tmp_path / "bare"
    tiny_bundle.build(bare)
    shutil.copy(folder / "manifest.json", tmp_path)
    assert read_manifest(folder).files == read_manifest(bare).files
    # An app builds it where it lies, edits it, or leaves it out.
    (folder / "kotlin" / ".gradle").mkdir()
    (folder / "kotlin" / ".gradle" / "latest").symlink_to("/nowhere")
    (folder / "kotlin" / "settings.gradle.kts").write_text("")
    (folder / PAGE).unlink()
    open_bundle(folder)
    shutil.rmtree(folder / "kotlin")
    open_bundle(folder)


@pytest.mark.parametrize("name", ["kotlin", "Kotlin/x", "more/kotlin/x", "kotlinx/x"])
def test_what_only_sounds_like_it_is_an_extra_file(tmp_path, name: str) -> None:
    folder = tmp_path / "tiny"
    tiny_bundle.build(folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")
    with pytest.raises(BundleError, match="extra file"):
        open_bundle(folder)


def test_the_page_of_a_video_bundle_says_what_apps_do_with_it(folder) -> None:
    manifest = read_manifest(folder)
    for target, words in (
        ("coreml", "`Tracker(bundle: url)` opens it"),
        ("onnx", "`Tracker(bundle, engine)` opens it"),
    ):
        changed = dataclasses.replace(manifest, video=video_bundle.RULE, target=target)
        text = page(changed, folder.name)
        assert words in text
        assert "video.npz" in text
    assert "video.npz" not in page(manifest, folder.name)
