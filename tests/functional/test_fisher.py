from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tl_lab.errors import UserError
from tl_lab.functional import fisher_diagonal, fisher_sums, output_sensitivity, per_sample, sensitivity_sums

Batches = list[tuple[Tensor, Tensor]]


def _regression(bias: bool, classes: int = 4) -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    return nn.Linear(3, classes, bias=bias).double(), torch.randn(20, 3).double(), torch.randint(classes, (20,))


def _probabilities(model: nn.Linear, x: Tensor) -> np.ndarray:
    """Softmax in numpy, ``(N, C)``."""
    z = x.numpy() @ model.weight.detach().numpy().T
    z = z if model.bias is None else z + model.bias.detach().numpy()
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("bias", [False, True])
def test_softmax_regression(bias: bool):
    model, x, y = _regression(bias)
    batches = list(zip(x.split(8), y.split(8), strict=True))  # 8, 8, 4
    p, one_hot, a = _probabilities(model, x), np.eye(4)[y], x.numpy()
    parts = np.split(np.arange(20), [8, 16])
    slopes = [(p - one_hot)[part].T @ a[part] / len(part) for part in parts]
    expected = {
        "exact": (p * (1 - p)).T @ a**2 / 20,
        "empirical": ((p - one_hot) ** 2).T @ a**2 / 20,
        "batched": sum(slope**2 for slope in slopes) / 3,
    }
    for estimator, weight in expected.items():
        result = fisher_diagonal(model, batches, estimator)
        np.testing.assert_allclose(result["weight"].numpy(), weight, rtol=1e-12)
    if bias:
        result = fisher_diagonal(model, batches)
        np.testing.assert_allclose(result["bias"].numpy(), (p * (1 - p)).mean(0), rtol=1e-12)
        result = fisher_diagonal(model, batches, "batched")
        means = np.array([(p - one_hot)[part].mean(0) for part in parts])
        np.testing.assert_allclose(result["bias"].numpy(), (means**2).mean(0), rtol=1e-12)


def test_sample_is_the_formula_for_the_labels_drawn():
    model, x, y = _regression(bias=True)
    result = fisher_diagonal(model, [(x, y)], "sample", generator=torch.Generator().manual_seed(1))
    p = _probabilities(model, x)
    drawn = torch.from_numpy(p).multinomial(1, generator=torch.Generator().manual_seed(1))[:, 0]
    expected = ((p - np.eye(4)[drawn]) ** 2).T @ x.numpy() ** 2 / 20
    np.testing.assert_allclose(result["weight"].numpy(), expected, rtol=1e-12)


def test_sample_is_unbiased():
    """10000 draws a sample: all within 4.5 standard errors of the exact one, as most of the empirical Fisher is not."""
    model, x, y = _regression(bias=False)
    draws = 10000
    batch = (x.repeat(draws, 1), y.repeat(draws))
    result = fisher_diagonal(model, [batch], "sample", generator=torch.Generator().manual_seed(2))["weight"]
    p, a = _probabilities(model, x), x.numpy()
    squares = (np.eye(4)[None] - p[:, None]) ** 2  # (N, label drawn, class)
    variance = np.einsum("nk,nkc->nc", p, squares**2) - np.einsum("nk,nkc->nc", p, squares) ** 2
    error = np.sqrt(variance.T @ a**4 / draws) / 20
    exact = (p * (1 - p)).T @ a**2 / 20
    empirical = fisher_diagonal(model, [(x, y)], "empirical")["weight"].numpy()
    assert (error / exact).max() < 0.01
    assert (np.abs(result.numpy() - exact) < 4.5 * error).all()
    assert (np.abs(empirical - exact) > 4.5 * error).mean() > 0.8


@pytest.mark.parametrize("closed_forms", [True, False])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_few_classes(classes: int, closed_forms: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(per_sample, "has_closed_form", lambda layer: closed_forms)
    model, x, y = _regression(bias=False, classes=classes)
    p = _probabilities(model, x)
    expected = (p * (1 - p)).T @ x.numpy() ** 2 / 20
    np.testing.assert_allclose(fisher_diagonal(model, [(x, y)])["weight"].numpy(), expected, rtol=1e-12, atol=1e-300)


def test_certain_and_excluded_classes():
    """Classes of probability 1e-40 count with relative accuracy, those with logit -inf not at all."""
    model, x, y = _regression(bias=True)
    with torch.no_grad():
        model.bias += torch.tensor([0.0, 90.0, 0.0, -20.0])
    p = _probabilities(model, x)
    q = np.where(np.arange(4) == 1, p[:, [0, 2, 3]].sum(1, keepdims=True), 1 - p)  # 1 - p without cancellation
    expected = (p * q).T @ x.numpy() ** 2 / 20
    np.testing.assert_allclose(fisher_diagonal(model, [(x, y)])["weight"].numpy(), expected, rtol=1e-12)

    with torch.no_grad():
        model.bias.copy_(torch.tensor([0.0, 0.0, -torch.inf, -torch.inf]))
    p = _probabilities(model, x)
    expected = (p * (1 - p)).T @ x.numpy() ** 2 / 20
    np.testing.assert_allclose(fisher_diagonal(model, [(x, y)])["weight"].numpy(), expected, rtol=1e-12)


def test_sensitivity_of_a_linear_map():
    model, x, y = _regression(bias=False)
    f = x.numpy() @ model.weight.detach().numpy().T
    expected = np.abs(2 * f[:, :, None] * x.numpy()[:, None]).mean(0)
    np.testing.assert_allclose(output_sensitivity(model, [(x, y)])["weight"].numpy(), expected, rtol=1e-12)


class _Positions(nn.Module):
    """Layer-norm and linear layers at each position of a sequence; ``time_first`` runs them on (L, B, D)."""

    def __init__(self, time_first: bool = False) -> None:
        super().__init__()
        self.time_first = time_first
        self.norm, self.inner, self.head = nn.LayerNorm(4, eps=0.1), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1) if self.time_first else x
        h = self.inner(self.norm(x)).relu_()  # overwrites the linear layer's output
        return self.head(h.mean(0 if self.time_first else 1))


class _Windows(nn.Module):
    """Runs on windows of a sample, all samples' windows in rows: (B, L, D) -> (B L, D)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x.flatten(0, 1)).tanh().view(len(x), x.shape[1], 5).mean(1))


class _Irregular(nn.Module):
    """A parameter of its own, one layer called twice, a weight that is used again, tied layers, an attention layer."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(4))
        self.twice, self.again, self.tied, self.other = (nn.Linear(4, 4) for _ in range(4))
        self.other.weight = self.tied.weight
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.twice(self.twice(x + self.token).tanh())
        h = F.linear(self.again(h).tanh(), self.again.weight)
        h = self.other(self.tied(h).tanh()).tanh()
        h = h + self.attention(h, h, h)[0]
        return self.head(h.mean(1))


class _Aside(nn.Module):
    """Calls that no gradient reaches beside uses that one does, and two layers that receive the very same gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.detached, self.ignored = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.detached(x) + self.detached(2 * x).detach()
        self.ignored(x)
        h = F.linear(h.tanh(), self.ignored.weight)
        return self.left(h) + self.right(h.tanh())


class _Tokens(nn.Module):
    """Two embeddings by numbers that the inputs are rounded to, one with a padding, and positions that all share."""

    def __init__(self, looks: bool = False) -> None:
        super().__init__()
        self.looks = looks
        self.words, self.kinds, self.places = nn.Embedding(4, 5), nn.Embedding(3, 5, padding_idx=1), nn.Embedding(6, 5)
        self.norm, self.head = nn.LayerNorm(5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        ids = (10 * x).long()
        h = self.words(ids % 4) + self.kinds(ids % 3) + self.places(torch.arange(x.shape[1])[None])
        if self.looks and bool((x > 9).all()):
            return self.head(h[:, 0])
        return self.head(self.norm(h).tanh().mean(1))


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 7), nn.ReLU(inplace=True), nn.BatchNorm1d(7, eps=0.1), nn.Linear(7, 3))


def _patched() -> nn.Module:
    """A linear layer whose forward pass has been replaced."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    layer = model[0]
    layer.forward = lambda x: F.linear(x, 3 * layer.weight, layer.bias)  # type: ignore[union-attr]
    return model


def _convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, padding=(2, 1), dilation=(2, 1), groups=6, bias=False),
        nn.GroupNorm(3, 6),
        nn.Conv2d(6, 4, 1),
        nn.Tanh(),
        nn.LayerNorm((5, 5)),
        nn.Conv2d(4, 5, 5),  # one position: its output is 1 x 1
        nn.Flatten(),
        nn.Linear(5, 3),
    )


# the net, a sample's shape, and the parameters that have no closed form
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], set[str]]] = {
    "mlp": (_mlp, (6,), set()),
    "convolutions": (_convolutions, (2, 9, 10), set()),
    "positions": (_Positions, (6, 4), set()),
    "time first": (
        lambda: _Positions(time_first=True),
        (5, 4),
        {"norm.weight", "norm.bias", "inner.weight", "inner.bias"},
    ),
    "windows": (_Windows, (5, 4), {"inner.weight", "inner.bias"}),
    "reflection": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), nn.Flatten(), nn.Linear(32, 3)),
        (1, 4, 4),
        {"0.weight", "0.bias"},
    ),
    "tokens": (_Tokens, (6,), {"places.weight"}),
    "tokens whose values are looked at": (lambda: _Tokens(looks=True), (6,), {"places.weight"}),
    "patched": (_patched, (4,), {"0.weight", "0.bias"}),
    "aside": (_Aside, (4,), {"detached.weight", "detached.bias", "ignored.weight"}),
    "irregular": (
        _Irregular,
        (5, 4),
        {"token", "twice.weight", "twice.bias", "again.weight", "tied.weight"}
        | {f"attention.{name}" for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")},
    ),
}


def _net(name: str) -> tuple[nn.Module, Batches]:
    """Build a net of NETS with random parameters and statistics, and batches of 5 and 2 samples."""
    torch.manual_seed(3)
    build, shape, _ = NETS[name]
    model = build().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model, list(zip(torch.randn(7, *shape).double().split(5), torch.randint(3, (7,)).split(5), strict=True))


def _one_by_one(model: nn.Module, batches: Batches, estimator: str, seed: int) -> dict[str, Tensor]:
    """The sums over samples and labels by plain autograd, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    parameters = dict(model.eval().named_parameters())
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}

    def terms(x: Tensor, y: Tensor) -> Iterator[tuple[float, Tensor]]:
        drawn = model(x).softmax(1).multinomial(1, generator=generator)[:, 0]
        for n in range(len(x)):
            f = model(x[n : n + 1])[0]
            log_p = f.log_softmax(0)
            if estimator == "exact":
                yield from ((log_p[k].exp().item(), log_p[k]) for k in range(len(f)))
            else:
                yield 1.0, {"sample": log_p[drawn[n]], "empirical": log_p[y[n]], "mas": f.square().sum()}[estimator]

    for x, y in batches:
        for weight, value in terms(x, y):
            gradients = torch.autograd.grad(value, list(parameters.values()), retain_graph=True)
            for name, g in zip(parameters, gradients, strict=True):
                sums[name] += g.abs() if estimator == "mas" else weight * g.square()
    return sums


def _sums(model: nn.Module, batches: Batches, estimator: str, seed: int = 4, **options) -> dict[str, Tensor]:
    if estimator == "mas":
        return sensitivity_sums(model, batches, **options)[0]
    return fisher_sums(model, batches, estimator, generator=torch.Generator().manual_seed(seed), **options)[0]


def _assert_close(result: dict[str, Tensor], expected: dict[str, Tensor], rtol: float = 1e-9) -> None:
    assert list(result) == list(expected)
    for name, value in expected.items():
        assert value.abs().max() > 0, name
        torch.testing.assert_close(result[name], value, rtol=rtol, atol=rtol * value.abs().max().item(), msg=name)


@pytest.mark.parametrize("estimator", ["exact", "sample", "empirical", "mas"])
@pytest.mark.parametrize("name", NETS)
def test_agrees_with_vmap_and_with_one_sample_at_a_time(name: str, estimator: str, monkeypatch: pytest.MonkeyPatch):
    model, batches = _net(name)
    expected = _one_by_one(model, batches, estimator, seed=4)

    by_vmap: set[str] = set()
    add_by_vmap = per_sample.PerSampleSums._add_by_vmap

    def watched(self, names, *rest):
        by_vmap.update(names)
        add_by_vmap(self, names, *rest)

    monkeypatch.setattr(per_sample.PerSampleSums, "_add_by_vmap", watched)
    _assert_close(_sums(model, batches, estimator), expected)
    assert by_vmap == NETS[name][2]

    monkeypatch.setattr(per_sample, "has_closed_form", lambda layer: False)
    _assert_close(_sums(model, batches, estimator), expected)
    assert by_vmap == set(expected)


@pytest.mark.parametrize("name", ["convolutions", "positions", "irregular"])
def test_chunks_change_nothing(name: str):
    model, batches = _net(name)
    for estimator in ("exact", "mas"):
        whole = _sums(model, batches, estimator)
        _assert_close(_sums(model, batches, estimator, chunk_bytes=1), whole, rtol=1e-13)
        _assert_close(_sums(model, batches, estimator, chunk_bytes=3000), whole, rtol=1e-13)


@pytest.mark.parametrize("estimator", ["exact", "empirical", "batched"])
def test_sums_of_parts_add_up(estimator: str):
    model, batches = _net("mlp")
    whole, count = fisher_sums(model, batches, estimator)
    (first, n), (second, m) = (fisher_sums(model, [batch], estimator) for batch in batches)
    assert (n, m, count) == ((1, 1, 2) if estimator == "batched" else (5, 2, 7))
    _assert_close({name: first[name] + second[name] for name in first}, whole, rtol=1e-14)
    empty = (batches[0][0][:0], batches[0][1][:0])
    again, same_count = fisher_sums(model, [empty, *batches, empty], estimator)
    assert same_count == count
    _assert_close(again, whole, rtol=0)


@pytest.mark.parametrize("estimator", ["exact", "sample", "empirical", "batched", "mas"])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_model_gradients_and_random_state_are_unchanged(estimator: str, context):
    torch.manual_seed(5)
    frozen = nn.BatchNorm1d(6).eval().requires_grad_(False)
    model = nn.Sequential(nn.Linear(4, 6), frozen, nn.Dropout(0.5), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    x, y = torch.randn(9, 4), torch.randint(3, (9,))
    F.cross_entropy(model(x), y).backward()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    random = torch.get_rng_state()
    reference = _sums(model, [(x, y)], estimator)

    def shuffled() -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(9)  # what the batches draw counts, too
        yield x[order], y[order]

    with context():
        result = _sums(model, shuffled(), estimator)
        _sums(model, [(x + 0, y + 0)], estimator)  # made in inference mode, where that is the context
        assert torch.is_grad_enabled() == (context is torch.enable_grad)
    assert [module.training for module in model] == [True, False, True, True, True, True]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (not name.startswith("1."))
        assert parameter.grad is None if gradients[name] is None else torch.equal(parameter.grad, gradients[name])
    assert torch.equal(torch.get_rng_state(), random)
    assert "1.weight" not in result
    assert not any(value.requires_grad or value.is_inference() for value in result.values())
    if estimator != "sample":
        _assert_close(result, reference, rtol=1e-5)


def test_names_choose_the_parameters(monkeypatch: pytest.MonkeyPatch):
    """A frozen parameter may be asked for; the others cost nothing."""
    model, batches = _net("convolutions")
    whole = fisher_diagonal(model, batches)
    model[5].requires_grad_(False)
    assert set(whole) - set(fisher_diagonal(model, batches)) == {"5.weight", "5.bias"}
    computed: list[tuple[int, set[str]]] = []
    layer_sums = per_sample.sums_of

    def watched(layer, names, *rest):
        computed.append((list(model).index(layer), set(names)))
        return layer_sums(layer, names, *rest)

    monkeypatch.setattr(per_sample, "sums_of", watched)
    result = fisher_diagonal(model, batches, names=["10.bias", "5.weight"])
    _assert_close(result, {name: whole[name] for name in ("5.weight", "10.bias")}, rtol=1e-13)
    assert computed == [(5, {"weight"}), (10, {"bias"})] * 2
    assert not model[5].weight.requires_grad


def test_unused_parameters_have_none(monkeypatch: pytest.MonkeyPatch):
    """An idle head gets zeros, and keeps no sample from its closed form."""

    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle, self.head = nn.Linear(4, 2), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x)

    monkeypatch.delattr(per_sample.PerSampleSums, "_add_by_vmap")
    batches = [(torch.randn(6, 4), torch.randint(3, (6,)))]
    for estimator in ("exact", "batched"):
        result = fisher_diagonal(TwoHeads(), batches, estimator)
        assert result["idle.weight"].shape == (2, 4)
        assert not result["idle.weight"].any()
        assert result["head.weight"].all()
        assert not fisher_diagonal(TwoHeads(), batches, estimator, names=["idle.bias"])["idle.bias"].any()
        assert fisher_sums(TwoHeads(), batches, estimator, names=[]) == ({}, 6 if estimator == "exact" else 1)


def test_half_precision_is_summed_in_single():
    """In bfloat16 a sum of equal terms would stop growing at 256 of them."""
    torch.manual_seed(6)
    model, x = nn.Linear(3, 4), torch.randn(1, 3).repeat(2000, 1)
    batches = [(part, torch.zeros(len(part), dtype=torch.long)) for part in x.split(10)]
    expected = fisher_diagonal(model, batches)["weight"]
    halves = [(x.bfloat16(), y) for x, y in batches]
    sums, count = fisher_sums(model.bfloat16(), halves)
    assert (sums["weight"].dtype, count) == (torch.float32, 2000)
    result = fisher_diagonal(model, halves)["weight"]
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), expected, rtol=0.05, atol=0)


def test_autocast_is_off():
    model, x, y = _regression(bias=True)
    p = _probabilities(model, x)
    expected = (p * (1 - p)).T @ x.numpy() ** 2 / 20
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = fisher_diagonal(model.float(), [(x.float(), y)])["weight"]
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5)


def test_an_overwritten_input_is_noticed():
    """Autograd refuses, too, to compute with what the layer has not seen."""

    class Overwrites(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = 2 * x
            logits = self.inner(h)
            h.zero_()
            return logits

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        fisher_diagonal(Overwrites(), [(torch.randn(5, 4), torch.zeros(5, dtype=torch.long))])


def test_mistakes_are_named():
    model, x, y = _regression(bias=True)
    batches = [(x, y)]
    with pytest.raises(UserError, match="no 'emprical', did you mean 'empirical'"):
        fisher_diagonal(model, batches, "emprical")
    with pytest.raises(UserError, match="no parameter 'wieght': did you mean 'weight'"):
        fisher_diagonal(model, batches, names=["wieght"])
    with pytest.raises(UserError, match="'sample' draws labels"):
        fisher_diagonal(model, batches, "sample")
    with pytest.raises(UserError, match="at least one sample"):
        output_sensitivity(model, [])
    coupled = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False)).double()
    with pytest.raises(UserError, match="batch-norm '1' has no running statistics"):
        fisher_diagonal(coupled, batches)

    class Checkpointed(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(super().forward, x.requires_grad_(), use_reentrant=True)

    with pytest.raises(UserError, match="use_reentrant=False"):
        fisher_diagonal(Checkpointed(3, 4).double(), batches)
