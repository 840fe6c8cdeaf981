from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from exporter import checkpoint as checkpoint_module
from exporter.checkpoint import Checkpoint, guess_variants, load_strict, read_checkpoint
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.models.layers import freeze
from exporter.variants import Layout, load_variant


def seeded(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def state() -> dict[str, torch.Tensor]:
    return {
        "lin.weight": seeded((4, 3)),
        "lin.bias": seeded((4,), 1),
        "norm.num_batches_tracked": torch.tensor(7),
    }


def same(read: Checkpoint, expected: dict[str, torch.Tensor]) -> bool:
    return read.tensors.keys() == expected.keys() and all(
        torch.equal(read.tensors[name], tensor) and read.tensors[name].dtype == tensor.dtype
        for name, tensor in expected.items()
    )


@pytest.mark.parametrize("wrap", [None, "model", "state_dict", "model_state"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_read_back(tmp_path, wrap, prefix, zipped):
    named = {prefix + name: tensor for name, tensor in state().items()}
    path = tmp_path / "weights.anything"
    value = {wrap: named, "best": torch.zeros(1), "epoch": 3} if wrap else named
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(path)
    assert same(read, state())
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_views_parameters_and_tied_tensors_read_back(tmp_path):
    whole = seeded((6, 8))
    value = {
        "a": whole[1:3, ::2],
        "b": whole.t(),
        "c": nn.Parameter(whole),
        "d": torch.zeros(0, 3),
        "e": torch.tensor(2.5),
        "f": torch.arange(4, dtype=torch.int32),
    }
    for zipped in (True, False):
        torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
        read = read_checkpoint(tmp_path / "x.pt")
        assert same(read, {name: tensor.detach() for name, tensor in value.items()})
        assert all(tensor.is_contiguous() for tensor in read.tensors.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_half_precision_is_widened(tmp_path, dtype, kind):
    value = {"w": seeded((3, 5)).to(dtype)}
    path = tmp_path / "x"
    if kind == "safetensors":
        save_file(value, path)
    else:
        torch.save(value, path, _use_new_zipfile_serialization=kind == "zip")
    assert same(read_checkpoint(path), {"w": value["w"].float()})


def test_safetensors_and_folders_read_back(tmp_path):
    save_file(state(), tmp_path / "model.safetensors")
    assert same(read_checkpoint(tmp_path / "model.safetensors"), state())
    assert same(read_checkpoint(tmp_path), state())
    old = tmp_path / "old"
    old.mkdir()
    torch.save(state(), old / "pytorch_model.bin")
    assert same(read_checkpoint(old), state())


def shards(folder, index=None):
    first, second = dict(list(state().items())[:1]), dict(list(state().items())[1:])
    save_file(first, folder / "model-1.safetensors")
    save_file(second, folder / "model-2.safetensors")
    weight_map = dict.fromkeys(first, "model-1.safetensors")
    weight_map |= dict.fromkeys(second, "model-2.safetensors")
    text = json.dumps({"weight_map": weight_map | (index or {})})
    (folder / "model.safetensors.index.json").write_text(text)


def test_shards_read_back(tmp_path):
    shards(tmp_path)
    assert same(read_checkpoint(tmp_path), state())


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"x": "../secret.safetensors"}, "outside its folder"),
        ({"x": "/etc/passwd"}, "outside its folder"),
        ({"x": "model-3.safetensors"}, "model-3.safetensors does not exist"),
        ({"x": "model-1.safetensors"}, "index that differs from its shards"),
        ({"x": 3}, "is not a weight index"),
    ],
)
def test_a_wrong_index_is_refused(tmp_path, index, message):
    shards(tmp_path, index)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="folder without weights"):
        read_checkpoint(tmp_path)
    (tmp_path / "empty.pt").touch()
    with pytest.raises(CheckpointError, match="is empty"):
        read_checkpoint(tmp_path / "empty.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"\x00" * 100, "neither a torch nor a safetensors"),
        (b"PK\x03\x04" + b"\x00" * 100, "truncated"),
        (b"\x80\x02K\x01.", "torch.save did not write it"),
        (b"{}", "neither"),
    ],
)
def test_what_is_no_checkpoint_is_told(tmp_path, content, message):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_every_truncation_is_an_error_of_ours(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "safetensors":
        save_file(state(), path)
    else:
        torch.save(state(), path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for size in (*range(1, len(whole), max(len(whole) // 60, 1)), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            read_checkpoint(path)
    path.write_bytes(whole[:-1])
    expected = "truncated" if kind == "zip" else f"expected .*{len(whole)} bytes, {len(whole) - 1}"
    with pytest.raises(CheckpointError, match=expected):
        read_checkpoint(path)


def test_a_changed_byte_fails_the_crc(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.full((1000,), 2.0)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 2.0) * 4)] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="fails its CRC"):
        read_checkpoint(path)


def test_a_compressed_zip_is_not_unpacked(tmp_path):
    torch.save({"w": torch.zeros(1_000_000)}, tmp_path / "x.pt")
    bomb = tmp_path / "bomb.pt"
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as source,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="compressed entries"):
        read_checkpoint(bomb)


def test_a_zip_that_claims_more_than_it_has(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        archive.writestr("x/data/0", b"1234")
        archive.filelist[1].file_size = archive.filelist[1].compress_size = 10**12
    with pytest.raises(CheckpointError, match=r"claims 10000000000.. bytes"):
        read_checkpoint(path)


def test_other_zips_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/constants.pkl", b"\x80\x02).")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "text")
    with pytest.raises(CheckpointError, match=r"torch\.save did not write it"):
        read_checkpoint(path)


class Runs:
    """Unpickles as a shell command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_file_runs_nothing(tmp_path, zipped):
    marker, path = tmp_path / "marker", tmp_path / "x.pt"
    value = {**state(), "extra": Runs(f"touch {marker}")}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"x\.pt asks to run posix\.system; nothing was executed"
    ):
        read_checkpoint(path)
    assert not marker.exists()


def test_a_message_is_one_printable_line(tmp_path):
    path = tmp_path / "x.pt"
    for name in ("bad\x1b[2J\nname", "n" * 5000):
        torch.save({name: torch.ones(2)}, path)
        with pytest.raises(CheckpointError, match="impossible name") as caught:
            read_checkpoint(path)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("zipped", [True, False])
def test_a_small_storage_does_not_become_a_huge_tensor(tmp_path, zipped):
    path = tmp_path / "x.pt"
    value = {"w": torch.ones(1).expand(100_000, 100_000)}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"tensor w .* larger than its storage of 1 elements"):
        read_checkpoint(path)


def test_many_names_for_one_storage_do_not_add_up(tmp_path):
    path, shared = tmp_path / "x.pt", torch.ones(100_000)
    torch.save({f"w{i}": shared for i in range(50)}, path)
    with pytest.raises(CheckpointError, match="describes 20000000 bytes of tensors"):
        read_checkpoint(path)


def test_a_legacy_storage_that_claims_terabytes(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.ones(77)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<q", 77), struct.pack("<q", 10**12)))
    with pytest.raises(CheckpointError, match="truncated: expected at least 4000000000"):
        read_checkpoint(path)


def test_a_file_over_the_limit_is_not_read(tmp_path, monkeypatch):
    torch.save(state(), tmp_path / "x.pt")
    monkeypatch.setattr(checkpoint_module, "MOST_BYTES", 100)
    with pytest.raises(CheckpointError, match="at most 100 are read"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_values_that_are_no_numbers_are_named(tmp_path, value, dtype):
    weight = torch.ones(5, dtype=dtype)
    weight[3] = value
    torch.save({"fine": torch.ones(2), "bad.weight": weight}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"tensor bad\.weight holds NaN or infinite"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.complex64, torch.bool, torch.int8, torch.uint8, torch.uint16]
)
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_other_dtypes_are_refused_by_name(tmp_path, dtype, kind):
    path, value = tmp_path / "x", {"w": torch.ones(8).to(dtype)}
    if kind == "safetensors":
        save_file(value, path)
    else:
        torch.save(value, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(CheckpointError, match=f"tensor w is {str(dtype)[6:]};"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["sparse", "quantised", "meta"])
def test_tensors_of_other_kinds_are_refused(tmp_path, kind):
    value = {
        "sparse": lambda: torch.eye(3).to_sparse(),
        "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "meta": lambda: torch.ones(3, device="meta"),
    }[kind]()
    torch.save({"w": value}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=f"tensor w is {kind}"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (struct.pack("<Q", 10**15) + b"{}", "header alone needs"),
        (struct.pack("<Q", 2) + b"{]", "damaged"),
        (struct.pack("<Q", 2) + b"{}", "holds no tensors"),
    ],
)
def test_absurd_safetensors_headers(tmp_path, header, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(header)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_overlapping_safetensors_are_refused(tmp_path):
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)


class Tiny(nn.Module):
    """Stands for a Sam: a convolution, a batch norm, a table that no checkpoint holds."""

    def __init__(self, width=4, eps=1e-5):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 1)
        self.norm = nn.BatchNorm2d(width, eps=eps)
        self.register_buffer("table", torch.tensor([1.0, 2.0]), persistent=False)


def ours_of_hugging_face(name):
    return name.replace("embed.", "conv.").replace("tied.", "conv.")


def tiny_variant(width=4, name="tiny"):
    def rename(published):
        return None if published.startswith("head.") else published

    return dataclasses.replace(
        load_variant("mobile_sam"),
        name=name,
        layouts=(
            Layout("segment-anything", rename, lambda: Tiny(width)),
            Layout("hugging-face", ours_of_hugging_face, lambda: Tiny(width, 1e-6)),
        ),
    )


def tiny_checkpoint(tmp_path, **extra):
    tensors = {name: tensor.detach().clone() for name, tensor in Tiny().state_dict().items()}
    return Checkpoint(tmp_path, "", {**tensors, **extra})


def test_all_tensors_are_loaded(tmp_path):
    read = tiny_checkpoint(tmp_path, **{"head.weight": torch.ones(3)})
    model, layout = load_strict(tiny_variant(), read)
    assert layout.name == "segment-anything"
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, read.tensors[name])
    assert model.conv.weight.data_ptr() == read.tensors["conv.weight"].data_ptr()
    assert isinstance(model.conv.weight, nn.Parameter)
    assert model.table.tolist() == [1.0, 2.0]


def test_the_other_layout_is_found(tmp_path):
    read = tiny_checkpoint(tmp_path)
    read.tensors["embed.weight"] = read.tensors.pop("conv.weight")
    model, layout = load_strict(tiny_variant(), read)
    assert layout.name == "hugging-face"
    assert model.norm.eps == 1e-6


def test_tied_names_must_agree(tmp_path):
    read = tiny_checkpoint(tmp_path)
    read.tensors["embed.weight"] = read.tensors.pop("conv.weight")
    read.tensors["tied.weight"] = read.tensors["embed.weight"].clone()
    model, _ = load_strict(tiny_variant(), read)
    assert torch.equal(model.conv.weight, read.tensors["tied.weight"])
    read.tensors["tied.weight"][0] += 1
    with pytest.raises(CheckpointError, match=r"embed\.weight and tied\.weight, with different"):
        load_strict(tiny_variant(), read)


def test_batch_counters_may_be_absent(tmp_path):
    read = tiny_checkpoint(tmp_path)
    del read.tensors["norm.num_batches_tracked"]
    model, _ = load_strict(tiny_variant(), read)
    assert model.norm.num_batches_tracked == 0
    read.tensors["other.num_batches_tracked"] = torch.tensor(1)
    load_strict(tiny_variant(), read)


def test_every_fault_is_listed(tmp_path):
    read = tiny_checkpoint(tmp_path, odd=torch.ones(1))
    del read.tensors["conv.bias"]
    read.tensors["conv.weight"] = torch.ones(4, 256)
    read.tensors["norm.bias"] = torch.ones(4, dtype=torch.int64)
    with pytest.raises(CheckpointMismatch) as caught:
        load_strict(tiny_variant(), read)
    assert caught.value.missing == ["conv.bias"]
    assert caught.value.unused == ["odd"]
    assert caught.value.misshapen == [
        "conv.weight (4, 256) should be (4, 3, 1, 1)",
        "norm.bias int64 should be float32",
    ]
    assert "choose the --variant" in str(caught.value)


def test_guesses_compare_names_and_shapes(tmp_path):
    candidates = [tiny_variant(3, "three"), tiny_variant(4, "four"), tiny_variant(4, "same")]
    assert guess_variants(tiny_checkpoint(tmp_path), candidates) == ["four", "same"]


@pytest.fixture(scope="module")
def mobile_sam(tmp_path_factory):
    """A file with MobileSAM's published tensors, the classifier that SAM does not use included."""
    tensors = {
        name: torch.full_like(tensor, 0.01)
        for name, tensor in load_variant("mobile_sam").layouts[0].build().state_dict().items()
    }
    tensors |= {
        "image_encoder.norm_head.weight": torch.ones(320),
        "image_encoder.norm_head.bias": torch.ones(320),
        "image_encoder.head.weight": torch.ones(1, 320),
        "image_encoder.head.bias": torch.ones(1),
    }
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(tensors, path)
    return path


def test_mobile_sam_loads_from_its_published_names(mobile_sam):
    read = read_checkpoint(mobile_sam)
    model, _ = load_strict(load_variant("mobile_sam"), read)
    state = model.state_dict()
    assert len(read.tensors) == len(state) + 4
    assert all(torch.equal(state[name], read.tensors[name]) for name in state)
    assert model.prompt_encoder.labels.tolist() == [-1, 0, 1, 2, 3]


def test_freezing_leaves_the_checkpoint_as_it_is(mobile_sam):
    read = read_checkpoint(mobile_sam)
    name = "image_encoder.layers.1.blocks.0.attn.qkv.weight"
    read.tensors[name].copy_(seeded(read.tensors[name].shape))
    before = {name: tensor.clone() for name, tensor in read.tensors.items()}
    model, _ = load_strict(load_variant("mobile_sam"), read)
    freeze(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in read.tensors.items())


def test_the_right_variant_is_suggested(mobile_sam):
    read = read_checkpoint(mobile_sam)
    with pytest.raises(CheckpointMismatch, match="this looks like mobile_sam or tinysam"):
        load_strict(load_variant("sam_vit_b"), read)
