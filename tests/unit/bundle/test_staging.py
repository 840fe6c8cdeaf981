from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import stat
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.bundle.claim import lock_of
from exporter.bundle.folder import LOG, open_bundle, seal
from exporter.bundle.staging import claim_bundle, staging
from exporter.errors import ExportError, RequestError
from exporter.signals import Terminated, terminable
from tests.unit.tiny_bundle import Recipe as TinyRecipe
from tests.unit.tiny_bundle import manifest


@contextmanager
def staged(final, *, force=False):
    with claim_bundle(final) as claimed, staging(claimed, force=force) as folder:
        yield folder


def write_bundle(folder, text="new"):
    for name in ("file.txt", "image_encoder.onnx", "mask_decoder.onnx"):
        (folder / name).write_text(text)
    seal(folder, manifest(TinyRecipe(), folder))


def test_staging_publishes_a_whole_bundle(tmp_path):
    final = tmp_path / "deep" / "bundle"
    with staged(final) as folder:
        assert folder.parent == final.parent
        assert re.fullmatch(r"\.bundle\.partial-[0-9a-f]{16}", folder.name)
        write_bundle(folder)
        assert not final.exists()
    assert open_bundle(final).path == final
    assert [p.name for p in final.parent.iterdir()] == ["bundle"]


def attempt(final, work, *, force=False):
    """Stage a bundle whose making ends in `work`."""
    with staged(final, force=force) as folder:
        write_bundle(folder)
        work(folder)


def fail(error):
    def work(folder):
        raise error

    return work


RING = ValueError("raised again by what it caused")
RING.__cause__ = RuntimeError("callback failed")
RING.__cause__.__cause__ = RING


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3), RING])
def test_staging_leaves_nothing_after_a_failure(tmp_path, error):
    def work(folder):
        (folder / LOG).touch()
        raise error

    with pytest.raises(type(error)):
        attempt(tmp_path / "bundle", work)
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_the_error_names_survives_alone(tmp_path):
    def work(folder):
        (folder / "a.mlpackage").mkdir()
        (folder / LOG).write_text("op not supported")
        raise ValueError(f"no; see {folder / LOG}")

    with pytest.raises(ValueError, match="no; see"):
        attempt(tmp_path / "bundle", work)
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    folder, log = sorted(left)
    assert folder.startswith(".bundle.partial-")
    assert log == f"{folder}/{LOG}"
    attempt(tmp_path / "bundle", lambda folder: None)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_log_that_no_error_names_is_no_leftover(tmp_path):
    def work(folder):
        (folder / LOG).write_text("a warning")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        attempt(tmp_path / "bundle", work)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_replaced_only_by_force(tmp_path):
    final = tmp_path / "bundle"
    with staged(final) as folder:
        write_bundle(folder, "old")
    with pytest.raises(RequestError, match="--force"), staged(final) as folder:
        write_bundle(folder)
    assert (final / "file.txt").read_text() == "old"
    with staged(final, force=True) as folder:
        write_bundle(folder)
    assert (final / "file.txt").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_force_never_replaces_what_is_no_bundle(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dog.jpg").write_text("dog")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for name in ("photos", "file", "link"):
        with pytest.raises(RequestError, match="another --output"):
            staged(tmp_path / name, force=True).__enter__()
    assert (tmp_path / "photos" / "dog.jpg").read_text() == "dog"


def test_an_empty_folder_is_free(tmp_path):
    (tmp_path / "bundle").mkdir()
    with staged(tmp_path / "bundle") as folder:
        write_bundle(folder)
    assert (tmp_path / "bundle" / "file.txt").is_file()


def test_a_failed_export_keeps_the_old_bundle(tmp_path):
    final = tmp_path / "bundle"
    with staged(final) as folder:
        write_bundle(folder, "old")
    with pytest.raises(KeyboardInterrupt), staged(final, force=True):
        raise KeyboardInterrupt
    assert (final / "file.txt").read_text() == "old"


def test_a_failed_rename_keeps_the_old_bundle(tmp_path, monkeypatch):
    final = tmp_path / "bundle"
    with staged(final) as folder:
        write_bundle(folder, "old")
    rename = Path.rename

    def refuse_new(path, target):
        if "partial" in path.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(ExportError, match="cannot move"), staged(final, force=True) as folder:
        write_bundle(folder)
    assert (final / "file.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("stopped", ["rename", "rmtree"])
def test_a_signal_while_a_bundle_is_replaced_leaves_nothing_beside_it(
    tmp_path, monkeypatch, stopped
):
    final = tmp_path / "bundle"
    make(final, "old")
    owner = Path if stopped == "rename" else shutil
    real = getattr(owner, stopped)

    def struck(*arguments, **more):
        signal.raise_signal(signal.SIGTERM)
        return real(*arguments, **more)

    def replace():
        with staged(final, force=True) as folder:
            write_bundle(folder, "new")
            monkeypatch.setattr(owner, stopped, struck)

    with pytest.raises(Terminated), terminable():
        replace()
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    open_bundle(final)
    assert (final / "file.txt").read_text() == "new"


def full_disk(path):
    return OSError(errno.ENOSPC, "No space left on device", str(path))


def test_a_full_disk_is_one_line_that_says_how_much(tmp_path):
    def work(folder):
        (folder / "weights").write_bytes(bytes(3 * 2**20))
        raise full_disk(folder / "weights")

    with pytest.raises(ExportError) as caught:
        attempt(tmp_path / "bundle", work)
    assert f"no space left on {tmp_path}: 3 MB" in str(caught.value)
    assert "free 106 MB or choose --output elsewhere" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_found_behind_a_toolkits_own_error(tmp_path):
    def work(folder):
        try:
            raise full_disk(folder / "weights")
        except OSError as error:
            raise RuntimeError("the toolkit gave up") from error

    with pytest.raises(ExportError, match=f"no space left on {tmp_path}: "):
        attempt(tmp_path / "bundle", work)


def test_a_full_disk_elsewhere_is_named(tmp_path):
    with pytest.raises(ExportError, match="no space left on /elsewhere"):
        attempt(tmp_path / "bundle", fail(full_disk("/elsewhere/tmp.bin")))


def test_other_errors_pass_unchanged(tmp_path):
    with pytest.raises(PermissionError):
        attempt(tmp_path / "bundle", fail(PermissionError(errno.EACCES, "Permission denied")))


def test_an_output_below_a_file_is_a_wrong_request(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match="another --output"):
        attempt(tmp_path / "file" / "bundle", lambda folder: None)


def make(final, text):
    with staged(final) as folder:
        write_bundle(folder, text)


def test_what_killed_exports_left_is_cleared_and_other_bundles_are_kept(tmp_path):
    stale = [tmp_path / f".bundle.{kind}" for kind in ("partial-0af3", "old-77", "partial-12345")]
    others = [tmp_path / name for name in (".bundle2.partial-0af3", ".bundle.partial-x", "bundle2")]
    for folder in (*stale, *others):
        folder.mkdir()
        (folder / "half").touch()
    (tmp_path / "bundle").mkdir()
    make(tmp_path / "bundle", "new")
    assert not any(folder.exists() for folder in stale)
    assert all(folder.exists() for folder in others)


def test_a_bundle_that_a_killed_export_moved_aside_comes_back(tmp_path):
    make(tmp_path / "bundle", "old")
    (tmp_path / "bundle").rename(tmp_path / ".bundle.old-0123456789abcdef")
    with pytest.raises(ValueError, match="no"), staged(tmp_path / "bundle", force=True):
        raise ValueError("no")
    assert (tmp_path / "bundle" / "file.txt").read_text() == "old"


def test_a_second_export_of_a_bundle_is_told_who_was_first(tmp_path):
    final = tmp_path / "bundle"
    with staged(final) as folder:
        write_bundle(folder, "first")
        with pytest.raises(RequestError) as caught:
            staged(final, force=True).__enter__()
    who = rf"process {os.getpid()} on \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC: wait"
    assert re.search(rf"bundle is being exported by {who}", str(caught.value))
    assert (final / "file.txt").read_text() == "first"


def test_other_bundles_of_the_same_folder_are_made_side_by_side(tmp_path):
    with staged(tmp_path / "a") as a, staged(tmp_path / "ab") as b:
        write_bundle(b)
        write_bundle(a)
        with staged(tmp_path / "b") as c:
            write_bundle(c)
        assert a.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "ab", "b"]


def test_what_took_the_name_meanwhile_is_never_replaced(tmp_path):
    final = tmp_path / "bundle"

    def intrude(folder):
        final.mkdir()
        (final / "file.txt").write_text("theirs")

    with pytest.raises(RequestError, match="appeared while this export ran"):
        attempt(final, intrude)
    assert (final / "file.txt").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("taken", ["file", "link"])
def test_a_file_that_took_the_name_meanwhile_is_never_replaced(tmp_path, taken):
    final, elsewhere = tmp_path / "bundle", tmp_path / "elsewhere"
    elsewhere.mkdir()

    def intrude(folder):
        if taken == "file":
            final.write_text("theirs")
        else:
            final.symlink_to(elsewhere)

    with pytest.raises(RequestError, match="appeared while this export ran"):
        attempt(final, intrude)
    assert final.is_symlink() == (taken == "link")
    assert list(elsewhere.iterdir()) == []


def test_force_replaces_only_the_bundle_that_was_there(tmp_path):
    final = tmp_path / "bundle"
    make(final, "old")

    def intrude(folder):
        shutil.rmtree(final)
        final.mkdir()
        write_bundle(final, "theirs")

    with pytest.raises(RequestError, match="changed while this export ran"):
        attempt(final, intrude, force=True)
    assert (final / "file.txt").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_export_that_lost_its_claim_writes_nothing(tmp_path):
    final = tmp_path / "bundle"
    with pytest.raises(ExportError, match=r"or \.bundle\.lock was deleted"):
        attempt(final, lambda folder: lock_of(final).unlink())
    assert list(tmp_path.iterdir()) == []


def test_an_export_whose_temporary_folder_went_with_its_claim_says_so(tmp_path):
    def lose(folder):
        lock_of(tmp_path / "bundle").unlink()
        shutil.rmtree(folder)
        (folder / "weights").write_bytes(b"")

    with pytest.raises(ExportError, match="given to another export"):
        attempt(tmp_path / "bundle", lose)


def test_a_folder_that_cannot_be_written_is_a_wrong_request(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("exporter.bundle.claim.os.open", refuse)
    with pytest.raises(RequestError, match=rf"cannot write to {tmp_path} \(Permission denied\)"):
        attempt(tmp_path / "bundle", lambda folder: None)


def test_a_disk_that_is_full_from_the_start_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("exporter.bundle.claim.os.open", lambda *_: fail(full_disk("x"))(None))
    with pytest.raises(ExportError, match=f"no space left on {tmp_path}"):
        attempt(tmp_path / "bundle", lambda folder: None)


def test_a_bundle_is_as_readable_as_the_umask_says(tmp_path):
    make(tmp_path / "bundle", "new")
    (tmp_path / "plain").mkdir()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("bundle", "plain")}
    assert len(modes) == 1


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_no_lock_file_is_named(tmp_path, kind):
    lock = lock_of(tmp_path / "bundle")
    {
        "folder": lock.mkdir,
        "link": lambda: lock.symlink_to("/etc/passwd"),
        "pipe": lambda: os.mkfifo(lock),
    }[kind]()
    with pytest.raises(RequestError, match=r"\.bundle\.lock is in the way and is no lock file"):
        attempt(tmp_path / "bundle", lambda folder: None)
