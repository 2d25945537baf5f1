import numpy as np
import torch

from tl_lab.functional import multilinear_map, randomised_multilinear_map


def test_the_map_is_the_outer_product():
    draw = np.random.default_rng(0)
    f, g = draw.normal(size=(3, 4)), draw.normal(size=(3, 2))
    ours = multilinear_map(torch.from_numpy(f), torch.from_numpy(g))
    expected = np.stack([np.outer(a, b).ravel() for a, b in zip(f, g, strict=True)])
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-15)


def test_random_maps_keep_inner_products_on_average():
    draw = torch.Generator().manual_seed(0)
    f, g = torch.randn(2, 5, generator=draw).double(), torch.randn(2, 3, generator=draw).double()
    products = []
    for _ in range(4000):
        maps = torch.randn(8, 5, generator=draw).double(), torch.randn(8, 3, generator=draw).double()
        t = randomised_multilinear_map(f, g, *maps)
        assert t.dtype == torch.float64
        products.append(t[0] @ t[1])
    values = torch.stack(products)
    expected = (f[0] @ f[1]) * (g[0] @ g[1])
    assert abs(values.mean() - expected) < 3 * values.std() / len(values) ** 0.5
