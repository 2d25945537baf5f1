import pytest
import pytorch_lightning as pl
import torch
from laboratory import BlobPair, Blobs, differing, fit, make, network, state
from torch.nn import functional as F

from tl_lab.domain_adaptation.domain_randomisation import DomainRandomisation
from tl_lab.errors import UserError
from tl_lab.randomness import separate_stream

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NONE = dict.fromkeys(("invert", "colour", "background", "texture", "blur", "noise"), 0.0)


def images(count=8, channels=3, size=12, seed=0):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def change(x, seed=0, **options):
    with separate_stream(seed):
        return DomainRandomisation(**{**NONE, **options}).source_input(x)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [*NONE, "all"])
def test_values_stay_in_0_1_and_each_image_changes_independently(name, channels):
    chosen = dict.fromkeys(NONE, 1.0) if name == "all" else {name: 1.0}
    x = images(1, channels).expand(6, -1, -1, -1)
    changed = change(x, gain=(0.1, 5.0), offset=0.5, noise_deviation=(0.1, 0.5), **chosen)
    assert changed.shape == x.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert all(not torch.equal(one, x[0]) for one in changed)
    if name != "invert":
        assert not any(torch.equal(changed[i], changed[j]) for i in range(6) for j in range(i))


def test_without_probability_nothing_changes_to_the_last_bit():
    x = images()
    assert torch.equal(change(x), x)
    assert torch.equal(change(x, invert=0.0, offset=1.0, texture_strength=1.0), x)


def test_a_probability_is_the_share_of_images_that_change():
    x = images(4000, 1, 4)
    for name in NONE:
        changed = (change(x, **{name: 0.3}) != x).flatten(1).any(1).float().mean()
        assert float(changed) == pytest.approx(0.3, abs=0.03)  # four standard deviations


def test_invert_is_the_negative():
    torch.testing.assert_close(change(images(), invert=1.0), 1 - images())


def test_colour_is_affine_in_each_channel_and_within_its_ranges():
    x = 0.4 + 0.2 * images(500)
    changed = change(x, colour=1.0, gain=(0.5, 1.5), offset=0.05)  # nothing reaches 0 or 1
    flat, new = x.flatten(2), changed.flatten(2)
    a = ((flat - flat.mean(2, keepdim=True)) * (new - new.mean(2, keepdim=True))).sum(2) / (
        flat - flat.mean(2, keepdim=True)
    ).square().sum(2)
    b = new.mean(2) - a * flat.mean(2)
    torch.testing.assert_close(new, a[..., None] * flat + b[..., None], rtol=1e-4, atol=1e-5)
    assert a.min() > 0.49
    assert a.max() < 1.51
    assert b.abs().max() < 0.051
    # log-uniform: the mean of log a is (log .5 + log 1.5) / 2 = -.144, where a uniform a would have -.045
    assert float(a.log().mean()) == pytest.approx(-0.144, abs=0.03)
    assert not torch.allclose(a[:, 0], a[:, 1])


def test_background_replaces_regions_like_the_border_and_keeps_the_most_different():
    x = torch.full((20, 3, 12, 12), 0.2)
    x[:, :, 4:8, 4:8] = 0.9
    changed = change(x, background=1.0)
    torch.testing.assert_close(changed[:, :, 4:8, 4:8], x[:, :, 4:8, 4:8])
    outside = torch.ones(12, 12, dtype=torch.bool)
    outside[4:8, 4:8] = False
    assert float((changed[..., outside] - 0.2).abs().mean()) > 0.2  # of a uniform colour: about .34
    assert float(changed[..., outside].mean()) == pytest.approx(0.5, abs=0.1)


def test_textures_are_cells_of_their_number_smooth_or_sharp():
    drawn = change(torch.zeros(200, 1, 12, 12), texture=1.0, texture_strength=1.0, cells=(3, 3))
    drawn = drawn / drawn.amax((2, 3), keepdim=True)
    cells = F.interpolate(drawn[:, :, 2::4, 2::4], 12, mode="nearest")  # the middle of each of 3x3 cells
    sharp = (drawn - cells).abs().amax((1, 2, 3)) < 1e-5
    corners = F.interpolate(drawn[:, :, [0, -1]][..., [0, -1]], 12, mode="nearest")
    assert 0.35 < float(sharp.float().mean()) < 0.65
    assert not torch.equal(cells, corners)
    # interpolated cells: linear between the centres, of which the first two are 5.5 pixels apart
    steps = drawn[~sharp][..., 0, 1:6] - drawn[~sharp][..., 0, 0:5]
    torch.testing.assert_close(steps, steps[..., :1].expand_as(steps), rtol=1e-3, atol=1e-4)


def test_texture_strength_bounds_its_share():
    x = torch.full((300, 1, 6, 6), 0.5)
    moved = (change(x, texture=1.0, texture_strength=0.2) - x).abs().max()
    assert 0.05 < float(moved) <= 0.1  # 0.2 times the distance to black or white


def test_blur_is_the_gaussian_of_its_deviation():
    x = torch.zeros(2, 3, 21, 21)
    x[:, :, 10, 10] = 1.0
    changed = change(x, blur=1.0, blur_sigma=(1.2, 1.2))
    at = torch.arange(21.0) - 10
    kernel = torch.exp(-at.square() / (2 * 1.2**2)) * (at.abs() <= 4)
    kernel = kernel / kernel.sum()
    expected = (kernel[:, None] * kernel[None, :]).expand_as(x)
    torch.testing.assert_close(changed, expected, rtol=1e-5, atol=1e-7)
    flat = torch.full((2, 1, 3, 3), 0.7)  # smaller than the kernel; a flat image stays as it is
    torch.testing.assert_close(change(flat, blur=1.0), flat)


def test_noise_has_its_deviation():
    x = torch.full((50, 3, 32, 32), 0.5)
    noise = change(x, noise=1.0, noise_deviation=(0.05, 0.05)) - x
    assert float(noise.std()) == pytest.approx(0.05, rel=0.02)
    assert abs(float(noise.mean())) < 0.001


def test_the_same_seed_gives_the_same_images():
    everything = dict.fromkeys(NONE, 0.5)
    assert torch.equal(change(images(), 1, **everything), change(images(), 1, **everything))
    assert not torch.equal(change(images(), 1, **everything), change(images(), 2, **everything))


@pytest.mark.parametrize("data", [Blobs, BlobPair])
def test_images_are_changed_in_training_but_not_in_evaluation(data):
    runs = []
    for options in ({}, NONE, None):
        adaptation = None if options is None else DomainRandomisation(**options)
        module, model = make(data=data(batch_size=20), adaptation=adaptation)
        before = module.sets["test"].x.clone() if data is Blobs else None
        fit(module, model, epochs=1)
        assert before is None or torch.equal(module.sets["test"].x, before)
        runs.append(state(model.network))
    changed, unchanged, without = runs
    assert differing(unchanged, without) == set()  # probability 0 trains to the same bits as no adaptation
    assert "head.0.weight" in differing(changed, without)


def test_a_resumed_run_sees_the_same_images(tmp_path):
    def parts():
        return make(data=BlobPair(batch_size=20), adaptation=DomainRandomisation())

    data, whole = parts()
    fit(data, whole, epochs=2)
    data, first = parts()
    saving = pl.callbacks.ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)

    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 0

    fit(data, first, epochs=2, callbacks=[saving, Stop()])
    data, second = parts()
    fit(data, second, epochs=2, ckpt_path=tmp_path / "last.ckpt")
    assert second.updates_done == whole.updates_done == 6
    assert differing(state(whole), state(second)) == set()
    assert differing(state(whole), state(first))


def test_vectors_are_refused():
    net = network()
    with pytest.raises(UserError, match="these data are vectors"):
        DomainRandomisation().build(net)


@pytest.mark.parametrize(
    "options",
    [
        {"invert": 1.5},
        {"texture": -0.1},
        {"offset": 2.0},
        {"gain": (1.0, 0.5)},
        {"cells": (0, 3)},
        {"blur_sigma": (0.0, 1.0)},
        {"noise_deviation": (0.1,)},
        {"texture_strength": float("nan")},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(UserError, match=rf"domain_adaptation\.{next(iter(options))}"):
        DomainRandomisation(**options)
