"""Palettes of weights: k-means without chance."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.targets._palette import cluster


def weights(shape=(96, 128), dtype=np.float16):
    return np.random.default_rng(0).laplace(size=shape).astype(dtype)


@pytest.mark.parametrize("bits", [4, 6])
def test_every_weight_has_the_nearest_value(bits):
    values = weights()
    palette, indices = cluster(values, bits)
    assert (palette.shape, palette.dtype) == ((1 << bits,), np.float16)
    flat = values.reshape(-1, 1).astype(np.float64)
    errors = np.abs(flat - palette.astype(np.float64))
    chosen = errors[np.arange(len(errors)), indices]
    np.testing.assert_array_equal(chosen, errors.min(axis=1))


@pytest.mark.parametrize("bits", [4, 6])
def test_every_value_is_the_mean_of_its_weights(bits):
    values = weights()
    palette, indices = cluster(values, bits)
    flat = values.reshape(-1).astype(np.float64)
    means = [flat[indices == index].mean() for index in range(1 << bits)]
    # float16 rounds the palette, and the last step of k-means may leave a few weights.
    np.testing.assert_allclose(palette, means, rtol=2e-3, atol=2e-3)


def test_the_error_is_less_than_that_of_even_steps():
    values = weights().astype(np.float64)
    palette, indices = cluster(weights(), 4)
    edges = np.linspace(values.min(), values.max(), 16)
    even = edges[np.abs(values[..., None] - edges).argmin(axis=-1)]
    kept = palette.astype(np.float64)[indices].reshape(values.shape)
    assert np.square(kept - values).mean() < 0.3 * np.square(even - values).mean()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_few_values_are_kept_bit_for_bit(dtype):
    few = np.array([-2.5, 0.0, 1e-4, 3.0], dtype)
    values = few[np.random.default_rng(0).integers(0, 4, (40, 60))]
    palette, indices = cluster(values, 4)
    np.testing.assert_array_equal(palette[indices].reshape(values.shape), values)


def test_equal_weights_give_equal_bytes():
    first, second = (cluster(weights(), 6) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("rows", [16, 768])
@pytest.mark.parametrize(("bits", "best"), [(4, 0.0095), (6, 0.00064)])
def test_normal_weights_lose_hardly_more_than_the_best_palette(rows, bits, best):
    """`best` is the error of Max (1960) for 2**bits levels, to the variance."""
    values = np.random.default_rng(0).standard_normal((rows, 96)).astype(np.float16)
    palette, indices = cluster(values, bits)
    kept = palette[indices].reshape(values.shape).astype(np.float64)
    assert np.square(kept - values.astype(np.float64)).mean() < 1.15 * best
