"""Clips of every kind: frames in order, both ways, with their times; damage is named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.errors import ImageError, RequestError
from runtimes.clips import container
from runtimes.clips.encoding import Encoder
from runtimes.clips.opening import Opening, open_clip
from runtimes.pictures.reading import Reading
from tests.unit import small_clips
from tests.unit.small_clips import FRAMES, HEIGHT, RATE, WIDTH

DASH = Path("-")


def close(frame, number: int, limit: float = 12) -> None:
    """A codec may lose a little."""
    assert frame.number == number
    expected = small_clips.picture(number).astype(int)
    assert np.abs(frame.rgb.astype(int) - expected).mean() < limit


def both_ways(clip, seconds) -> None:
    frames = list(clip.forward())
    assert (clip.size, clip.frames) == ((WIDTH, HEIGHT), len(seconds))
    for number, frame in enumerate(frames):
        close(frame, number)
    assert [frame.seconds for frame in frames] == pytest.approx(seconds, abs=1e-3)
    for last in (len(frames) - 1, 2):
        back = list(clip.backward(last))
        assert [frame.number for frame in back] == list(range(last, -1, -1))
        for frame in back:
            np.testing.assert_array_equal(frame.rgb, frames[frame.number].rgb)
            assert frame.seconds == pytest.approx(frames[frame.number].seconds, abs=1e-6)


@pytest.mark.parametrize("held", [2**28, 3 * WIDTH * HEIGHT * 2])
@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.mkv", "ffv1", "yuv444p"),
        ("ten.mkv", "ffv1", "yuv420p10le"),
        ("a.avi", "mpeg4", "yuv420p"),
    ],
)
def test_a_file(tmp_path, monkeypatch, name, codec, pixels, held):
    monkeypatch.setattr(container, "_HELD", held)
    path = small_clips.video(tmp_path / name, codec=codec, pixels=pixels)
    both_ways(open_clip(path), [number / RATE for number in range(FRAMES)])


def test_times_may_vary(tmp_path):
    seconds = [0.0, 0.1, 0.15, 0.6, 0.61, 2.0]
    both_ways(open_clip(small_clips.video(tmp_path / "vary.mkv", seconds=seconds)), seconds)


def test_a_folder_is_in_the_order_of_its_numbers(tmp_path):
    path = small_clips.folder(tmp_path / "frames", 12)
    (path / "notes.txt").write_text("no frame")
    (path / ".hidden.png").write_text("no frame")
    both_ways(open_clip(path), [number / 25 for number in range(12)])


def test_a_turned_clip_is_upright(tmp_path):
    clip = open_clip(small_clips.video(tmp_path / "turned.mp4", turned=-90))
    assert clip.size == (HEIGHT, WIDTH)
    first = next(clip.forward()).rgb
    np.testing.assert_allclose(first[4, -4], [0, 255, 0], atol=40)


def test_one_frame_is_a_clip(tmp_path):
    clip = open_clip(small_clips.video(tmp_path / "one.mp4", frames=1))
    assert (clip.frames, len(list(clip.forward())), len(list(clip.backward(0)))) == (1, 1, 1)


def test_4k_is_read(tmp_path):
    clip = open_clip(small_clips.video(tmp_path / "4k.mp4", frames=2, size=(3840, 2160)))
    assert [frame.rgb.shape for frame in clip.forward()] == [(2160, 3840, 3)] * 2


@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
def test_a_file_may_come_through_a_pipe(tmp_path, name):
    content = small_clips.video(tmp_path / name).read_bytes()
    clip = open_clip(DASH, None, io.BytesIO(content))
    assert (clip.frames, clip.size) == (None, (WIDTH, HEIGHT))
    assert len(list(clip.forward())) == FRAMES
    with pytest.raises(RequestError, match="come once"):
        list(clip.backward(0))


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (small_clips.ppm(), Opening(rate=5.0)),
        (
            b"".join(small_clips.picture(n).tobytes() for n in range(FRAMES)),
            Opening(raw=(WIDTH, HEIGHT), rate=5.0),
        ),
    ],
)
def test_pictures_through_a_pipe(content, how):
    clip = open_clip(DASH, how, io.BytesIO(content))
    frames = list(clip.forward())
    for number, frame in enumerate(frames):
        close(frame, number, limit=1e-9)
    assert (len(frames), clip.frames, frames[-1].seconds) == (FRAMES, None, 1.0)
    with pytest.raises(RequestError, match="come once"):
        clip.backward(0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "standard input is empty"),
        (small_clips.ppm()[:-1], "frame 5 on standard input is cut off: 9215 of 9216 bytes"),
        (small_clips.ppm() + b"P6\n4", "frame 6 on standard input has a damaged PPM header"),
        (small_clips.ppm() + b"RIFF", "frame 6 on standard input begins with b'RI'"),
        (b"P6 4 4 65535\n", "no PPM of 8 bits"),
        (b"P6 0 4 255\n", "no PPM of 8 bits"),
        (b"P6 99999 99999 255\n", "--max-pixels"),
        (b"P6 " + b"1" * 2000, "damaged PPM header"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "a stream of PPM"),
    ],
)
def test_a_pipe_of_something_else_is_named(content, says):
    with pytest.raises(ImageError, match=says):
        list(open_clip(DASH, None, io.BytesIO(content)).forward())


def test_a_file_that_is_cut_off_or_damaged_is_named(tmp_path):
    whole = small_clips.video(tmp_path / "a.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"cut\.mp4 cannot be opened"):
        open_clip(cut)
    stream = small_clips.video(tmp_path / "a.ts", frames=60).read_bytes()
    hurt = tmp_path / "hurt.ts"
    hurt.write_bytes(stream[: len(stream) // 2] + bytes(2000) + stream[len(stream) // 2 + 2000 :])
    with pytest.raises(ImageError, match=r"hurt\.ts"):
        list(open_clip(hurt).forward())


def test_a_movie_with_fewer_frames_than_it_promises_is_cut_off(tmp_path):
    import av

    source = small_clips.video(tmp_path / "a.mp4", frames=60)
    fast = tmp_path / "fast.mp4"
    with (
        av.open(str(source)) as old,
        av.open(str(fast), "w", options={"movflags": "faststart"}) as new,
    ):
        track = old.streams.video[0]
        stream = new.add_stream_from_template(track)
        for packet in old.demux(track):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    content = fast.read_bytes()
    fast.write_bytes(content[: len(content) * 9 // 10])
    with pytest.raises(ImageError, match=r"fast\.mp4 is cut off: \d+ of 60 frames are in it"):
        open_clip(fast)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: Image.new("RGB", (4, 4)).save(p, "PNG"), "is a PNG; this bundle tracks"),
        (lambda p: p.write_text("#EXTM3U\nfile:///etc/passwd\n"), "is text"),
        (lambda p: p.write_bytes(b""), "is empty|empty"),
        (lambda p: p.mkdir(), "holds no pictures"),
        (lambda p: p.write_bytes(bytes(range(256)) * 9), "no kind of video"),
        (lambda p: None, "is missing"),
        (lambda p: p.write_bytes(b"OggS" + bytes(99)), "cannot be opened|no track of frames"),
    ],
)
def test_what_is_no_clip_is_named(tmp_path, make, says):
    path = tmp_path / "thing"
    make(path)
    with pytest.raises(ImageError, match=says):
        open_clip(path)


def test_sound_alone_has_no_frames(tmp_path):
    import av

    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(ImageError, match="has no track of frames"):
        open_clip(path)


def test_a_pixel_format_that_cannot_be_converted_is_named(tmp_path):
    clip = open_clip(small_clips.video(tmp_path / "a.mp4"))
    frames = clip.forward()
    next(frames)

    class Odd:
        format = type("Format", (), {"name": "bayer_odd8"})
        width, height, is_corrupt, rotation, color_trc, time, pts = 8, 8, False, 0, 2, 0.0, 0

        def to_ndarray(self, **options):
            raise ValueError("Conversion from bayer_odd8 is not supported")

    with pytest.raises(ImageError, match="pixel format bayer_odd8, which PyAV cannot convert"):
        clip._frame(Odd(), 3, 0.0)


def test_options_that_do_not_fit_are_named(tmp_path):
    path = small_clips.video(tmp_path / "a.mp4")
    with pytest.raises(RequestError, match="--raw-size is for frames on standard input"):
        open_clip(path, Opening(raw=(4, 4)))
    with pytest.raises(RequestError, match="has times of its own"):
        open_clip(path, Opening(rate=4.0))
    with pytest.raises(ImageError, match="--max-pixels"):
        open_clip(path, Opening(reading=Reading(max_pixels=100)))
    folder = small_clips.folder(tmp_path / "frames")
    with pytest.raises(ImageError, match=r"0\.png is too large"):
        open_clip(folder, Opening(reading=Reading(max_pixels=100)))


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    path = small_clips.video(tmp_path / "a.mp4")
    monkeypatch.setattr(container.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install 'sam-export\[video\]'"):
        open_clip(path)
    assert open_clip(small_clips.folder(tmp_path / "frames")).frames == FRAMES


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".mov"])
def test_what_is_encoded_is_read_again(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    seconds = [0.0, 0.1, 0.5, 0.9, 2.0]
    encoder = Encoder(path, (WIDTH - 1, HEIGHT - 1), 10.0)
    for number, time in enumerate(seconds):
        encoder.add(small_clips.picture(number)[:-1, :-1], time)
    assert not path.exists()
    encoder.commit()
    assert list(tmp_path.iterdir()) == [path]
    clip = open_clip(path)
    frames = list(clip.forward())
    assert clip.size == (WIDTH, HEIGHT)
    assert [frame.seconds for frame in frames] == pytest.approx(seconds, abs=0.002)
    for number, frame in enumerate(frames):
        close(frame, number, limit=25)


def test_an_encoder_that_is_discarded_leaves_nothing(tmp_path):
    encoder = Encoder(tmp_path / "out.mp4", (WIDTH, HEIGHT), 10.0)
    encoder.add(small_clips.picture(0), 0.0)
    encoder.discard()
    encoder.discard()
    assert list(tmp_path.iterdir()) == []
