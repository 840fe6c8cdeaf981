"""Our modules against the arithmetic they replace: each rewrite is proved equal, at small sizes."""

from __future__ import annotations

import contextlib
import copy
import functools

import pytest
import torch
import torch.nn.functional as F

from exporter.graphs import absorbed
from exporter.graphs.mask_decoder import MaskDecoder
from exporter.models import absorbed_attention
from exporter.models.attention import Attention
from exporter.models.layers import (
    LayerNorm2d,
    Normalise,
    freeze,
    merge_heads,
    split_heads,
    window_merge,
    window_partition,
)
from exporter.models.mask_decoder import DecoderSize, Upscale2x, unfold_children
from exporter.models.sam import Geometry, Sam
from exporter.models.tiny_vit import TinyViT, TinyViTSize
from exporter.models.vit import ViT, ViTSize
from profiles.lab.bench.published import PublishedDecoder, PublishedEncoder

CLOSE = 1e-5  # of the expectation's absolute maximum: a few hundred float32 roundings
EMPTY = -2.0

TINY = TinyViTSize(
    image_size=64,
    widths=(8, 16, 24),
    depths=(1, 2, 2),
    heads=(1, 2, 3),
    windows=(4, 4, 4),
    merge_strides=(2, 1),
    out_width=16,
)
"""Grids of 16, 8 and 8 cells: whole windows."""
TINY_PADDED = TinyViTSize(**(vars(TINY) | {"windows": (7, 3, 5)}))
"""8 cells in windows of 3 and 5: padded to 9 and 10."""
VIT = ViTSize(
    width=32, depth=2, heads=2, global_blocks=(1,), image_size=64, patch=8, window=4, out_width=16
)
"""8 x 8 cells: whole windows."""
VIT_PADDED = ViTSize(**(vars(VIT) | {"window": 3}))
ENCODERS = {"tiny": TINY, "tiny padded": TINY_PADDED, "vit": VIT, "vit padded": VIT_PADDED}
INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input")
DECODER = DecoderSize(width=32, heads=4, mlp_width=48, iou_hidden=16)
GRID, SIZE, SLOTS = 8, 64, 6


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=rng(seed))


def randomised(module, seed=0):
    """Every weight random, so that no zero bias or unit norm hides a mistake."""
    generator = rng(seed)
    with torch.no_grad():
        for name, value in sorted(module.state_dict().items()):
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif value.is_floating_point():
                draw = torch.randn(value.shape, generator=generator)
                fan = value[0].numel() if value.dim() > 1 else 4
                value.copy_(
                    1 + 0.2 * draw if "norm" in name and "weight" in name else draw / fan**0.5
                )
    return module.eval()


def encoder(size, seed=0):
    kind = ViT if isinstance(size, ViTSize) else TinyViT
    return randomised(kind(size), seed)


@functools.cache
def sam(seed=0):
    return randomised(Sam(torch.nn.Identity(), Geometry(SIZE, GRID), DECODER), seed)


def decoder(batch=1, seed=0):
    return MaskDecoder(freeze(copy.deepcopy(sam(seed))), INPUTS, batch).eval()


def close(actual, expected, relative=CLOSE):
    assert actual.shape == expected.shape
    worst = (actual - expected).abs().max() / expected.abs().max()
    assert worst <= relative, f"{worst:.2e} of the maximum"


def prompts(batch=1, slots=SLOTS, real=3):
    """Coordinates and labels: `real` prompts of all kinds, then empty slots."""
    coords = torch.rand((batch, slots, 2), generator=rng(1)) * SIZE
    labels = torch.full((batch, slots), EMPTY)
    labels[:, :real] = torch.tensor([1.0, 0.0, 2.0, 3.0, -1.0, 1.0])[:real]
    return coords, labels


def inputs(batch=1, given=1.0, **kwargs):
    """Every input of the static decoder."""
    coords, labels = prompts(batch, **kwargs)
    mask = normal(batch, 1, 4 * GRID, 4 * GRID, seed=3)
    return [normal(1, 32, GRID, GRID, seed=2), coords, labels, mask, torch.full((batch,), given)]


# ------------------------------------------------------------------------------------- freezing


@pytest.mark.parametrize("name", ["tiny", "tiny padded"])
def test_freezing_a_tiny_vit_leaves_its_output_and_removes_its_norms(name):
    free, image = encoder(ENCODERS[name]), normal(1, 3, 64, 64)
    frozen = freeze(copy.deepcopy(free))
    close(frozen(image), free(image))
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in free.modules())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in frozen.modules())


@pytest.mark.parametrize("name", ["vit", "vit padded"])
def test_freezing_a_vit_gathers_the_rows_of_its_positions(name):
    net = freeze(encoder(ENCODERS[name]))
    for block in net.blocks:
        attn, side = block.attn, block.attn.side
        for y, k in ((0, 0), (0, side - 1), (side - 1, 0), (1, 2)):
            assert torch.equal(attn.rows[y, :, k], attn.rel_pos_h[y - k + side - 1])
            assert torch.equal(attn.cols[y, :, k], attn.rel_pos_w[y - k + side - 1])


def test_freezing_the_decoder_leaves_its_outputs():
    free = MaskDecoder(copy.deepcopy(sam()), INPUTS, 1).eval()
    for actual, expected in zip(decoder()(*inputs()), free(*inputs()), strict=True):
        close(actual, expected)


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_freezing_twice_is_freezing_once(name):
    net, image = freeze(encoder(ENCODERS[name])), normal(1, 3, 64, 64)
    once = net(image)
    assert torch.equal(freeze(net)(image), once)


def test_freezing_the_decoder_twice_is_freezing_once():
    whole = freeze(copy.deepcopy(sam()))
    once = MaskDecoder(whole, INPUTS, 1).eval()(*inputs())
    twice = MaskDecoder(freeze(whole), INPUTS, 1).eval()(*inputs())
    assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))


def test_freezing_never_writes_into_the_checkpoint():
    net = encoder(TINY)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    shared = net.state_dict()
    freeze(net)
    assert all(torch.equal(before[name], value) for name, value in shared.items())
    assert not any(p.requires_grad for p in net.parameters())
    assert not net.training


# --------------------------------------------------------------------------------------- layers


def test_windows_are_those_of_the_rank_6_form():
    x, window = normal(2, 6, 9, 5), 3
    rank6 = x.view(2, 2, window, 3, window, 5).permute(0, 1, 3, 2, 4, 5)
    windows = window_partition(x, window)
    assert torch.equal(windows, rank6.reshape(-1, window * window, 5))
    assert torch.equal(window_merge(windows, window, 2, 6, 9), x)


def test_heads_split_and_merge():
    x = normal(2, 5, 12)
    heads = split_heads(x, 3)
    assert torch.equal(heads[1, 2, 4], x[1, 4, 8:12])
    assert torch.equal(merge_heads(heads), x)


def test_layer_norm_2d_is_the_published_formula():
    norm, x = randomised(LayerNorm2d(7, eps=0.1)), normal(2, 7, 3, 4) * 3 + 1
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    expected = (x - mean) / torch.sqrt(variance + 0.1)
    close(norm(x), norm.weight[:, None, None] * expected + norm.bias[:, None, None])


def test_normalise_is_the_published_formula():
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    image = torch.rand((1, 3, 8, 8), generator=rng()) * 255
    image[0, :, 0, 0] = torch.tensor(mean)
    wide = [torch.tensor(v, dtype=torch.float64).reshape(1, 3, 1, 1) for v in (mean, std)]
    expected = (image.double() - wide[0]) / wide[1]
    actual = Normalise(mean, std)(image).double()
    assert (actual - expected).abs().max() <= 1e-6
    assert (actual[0, :, 0, 0]).abs().max() <= 1e-6


def test_two_upscalings_are_two_transposed_convolutions():
    first, second = randomised(Upscale2x(12, 8), 1), randomised(Upscale2x(8, 5), 2)
    norm = randomised(torch.nn.LayerNorm(8, eps=1e-6), 3)
    picture, grid = normal(2, 12, 3, 3), 3
    tokens = picture.flatten(2).transpose(1, 2)
    children = F.gelu(second(F.gelu(norm(first(tokens)))))
    ours = unfold_children(children, grid)

    x = F.conv_transpose2d(picture, first.weight, first.bias, stride=2)
    x = F.gelu(norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    x = F.gelu(F.conv_transpose2d(x, second.weight, second.bias, stride=2))
    assert x.shape == (2, 5, 12, 12)
    close(ours, x)


# ------------------------------------------------------------------------- the published networks


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("seed", [0, 1])
def test_encoders_compute_what_is_published(name, seed):
    net, image = encoder(ENCODERS[name], seed), normal(1, 3, 64, 64, seed=seed)
    whole = Sam(net, Geometry(SIZE, GRID), DECODER).eval()
    expected = PublishedEncoder(whole)(image)
    close(freeze(copy.deepcopy(net))(image), expected)


def test_padded_windows_attend_to_their_padding():
    """Whole windows and padded ones are different networks: the two cases above are two."""
    image = normal(1, 3, 64, 64)
    whole, padded = encoder(TINY), TinyViT(TINY_PADDED).eval()
    state = whole.state_dict()
    biases = {k: v for k, v in padded.state_dict().items() if "attention_biases" in k}
    padded.load_state_dict(state | biases)
    assert (freeze(whole)(image) - freeze(padded)(image)).abs().max() > 1e-3


@pytest.mark.parametrize("real", range(1, SLOTS + 1))
@pytest.mark.parametrize("given", [0.0, 1.0])
def test_the_decoder_computes_what_is_published_for_the_real_prompts(real, given):
    embeddings, coords, labels, mask, has_mask = inputs(given=given, real=real)
    published = PublishedDecoder(copy.deepcopy(sam()))
    expected = published(embeddings, coords[:, :real], labels[:, :real], mask if given else None)
    actual = decoder()(embeddings, coords, labels, mask, has_mask)
    for ours, theirs in zip(actual, expected, strict=True):
        close(ours, theirs)


# -------------------------------------------------------------------------------- prompt contract


FORMS = pytest.mark.parametrize("form", [contextlib.nullcontext, absorbed])


@FORMS
def test_what_lies_in_an_empty_slot_changes_nothing_at_all(form):
    net = decoder()
    with form(net):
        _check_that_empty_slots_are_invisible(net)


def _check_that_empty_slots_are_invisible(net):
    given = inputs(real=3)
    expected = net(*given)
    for value in (0.0, -1.0, 1e3, 7.5):
        given[1] = given[1].clone()
        given[1][:, 3:] = value
        for a, b in zip(net(*given), expected, strict=True):
            assert torch.equal(a, b)
    given[1][:, :3] += 5.0
    assert (net(*given)[0] - expected[0]).abs().max() > 1e-3


def test_more_empty_slots_change_nothing():
    few, many = inputs(slots=4, real=3), inputs(slots=16, real=3)
    many[1][:, :3] = few[1][:, :3]
    for a, b in zip(decoder()(*few), decoder()(*many), strict=True):
        close(a, b)


def test_the_order_of_slots_does_not_matter():
    given, moved = inputs(real=3), inputs(real=3)
    moved[1], moved[2] = given[1].flip(1), given[2].flip(1)
    for a, b in zip(decoder()(*given), decoder()(*moved), strict=True):
        close(a, b)


@FORMS
def test_a_batch_is_as_many_single_calls(form):
    batch, single = decoder(3), decoder(1)
    with form(batch), form(single):
        _check_that_a_batch_is_single_calls(batch, single)


def _check_that_a_batch_is_single_calls(batch, single):
    given = inputs(3, real=5)
    given[2][1, 2:] = EMPTY
    given[4] = torch.tensor([1.0, 0.0, 1.0])
    together = batch(*given)
    for i in range(3):
        alone = single(given[0], *(tensor[i : i + 1] for tensor in given[1:]))
        for a, b in zip(together, alone, strict=True):
            close(a[i : i + 1], b)
    assert (together[0][0] - together[0][1]).abs().max() > 1e-3


def test_a_mask_that_is_not_given_is_not_read():
    given = inputs(given=0.0)
    expected = decoder()(*given)
    given[3] = given[3] * 3 + 1
    for a, b in zip(decoder()(*given), expected, strict=True):
        assert torch.equal(a, b)
    given[4] = torch.ones(1)
    assert (decoder()(*given)[0] - expected[0]).abs().max() > 1e-3


# ---------------------------------------------------------------------------- absorbed attention


def attention_case(batch):
    attn = randomised(Attention(32, 4, 2))
    tokens, image = normal(batch, 7, 32, seed=1), normal(batch, 20, 32, seed=2)
    other = normal(batch, 20, 32, seed=3)
    bias = torch.zeros(batch, 1, 1, 7)
    bias[:, ..., 5:] = -1e4
    if batch > 1:
        bias[1, ..., 2:] = -1e4
    return attn, tokens, image, other, bias


@pytest.mark.parametrize("batch", [1, 3])
def test_absorbed_tokens_to_image_is_plain_attention(batch):
    attn, tokens, image, other, _ = attention_case(batch)
    expected = attn(tokens, image, other)
    close(absorbed_attention.tokens_to_image(attn, tokens, image, other), expected)


@pytest.mark.parametrize("batch", [1, 3])
def test_absorbed_image_to_tokens_is_plain_attention_with_empty_slots(batch):
    attn, tokens, image, _, bias = attention_case(batch)
    values = normal(batch, 7, 32, seed=4)
    expected = attn(image, tokens, values, bias)
    close(absorbed_attention.image_to_tokens(attn, image, tokens, values, bias), expected)
    values[:, 5:] = 1e3
    actual = absorbed_attention.image_to_tokens(attn, image, tokens, values, bias)
    close(actual, expected)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_absorbed_decoder_is_the_plain_one(batch):
    net, given = decoder(batch), inputs(batch, real=4)
    plain = net(*given)
    with absorbed(net):
        other = net(*given)
    for a, b in zip(other, plain, strict=True):
        close(a, b)
    assert all(torch.equal(a, b) for a, b in zip(net(*given), plain, strict=True))
