"""Starts have the mean, the covariance and the neighbours that they should."""

import json

import pytest
import torch

import energylens as el
from energylens.generation import components, starts
from energylens.generation.components import principal_components, whole_gaussian
from energylens.generation.penultimate import penultimate
from energylens.generation.settings import GenerationSettings
from energylens.generation.starts import STARTS, Material, check_starts, draw_starts
from energylens.noise import Noise

LABEL = 3


@pytest.fixture(scope="module")
def train():
    return el.load_data("digits", split="train")


@pytest.fixture(scope="module")
def robust():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def threes(train):
    return train.images[train.labels == LABEL].flatten(1)


def draws(robust, train, n=4000, label=LABEL, **settings):
    own = GenerationSettings(**settings)
    material = Material(robust, train, **own.of_starts)
    return draw_starts(own.start, material, torch.full((n,), label), Noise(0, tuple(range(n)))).flatten(1)


@pytest.mark.parametrize("decompose", [whole_gaussian, lambda images: principal_components(images, 1.0)])
def test_full_variance_is_the_covariance_of_the_class(decompose, threes):
    found = decompose(threes)
    torch.testing.assert_close(found.mean, threes.mean(dim=0))
    torch.testing.assert_close(found.scaled.T @ found.scaled, threes.T.cov(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("spread", [1.0, 0.5])
@pytest.mark.parametrize(("start", "own"), [("gaussian", {}), ("pca", {"retained_variance": 1.0})])
def test_draws_reproduce_the_class_gaussian(start, own, spread, robust, train, threes):
    found = draws(robust, train, start=start, spread=spread, **own)
    deviation = threes.std(dim=0)
    error = spread * deviation / 4000**0.5
    assert ((found.mean(dim=0) - threes.mean(dim=0)).abs() <= 5 * error + 1e-5).all()
    covariance, expected = found.T.cov(), spread**2 * threes.T.cov()
    assert (covariance - expected).norm() < 0.1 * expected.norm()
    assert covariance.trace() == pytest.approx(float(expected.trace()), rel=0.03)


def test_retained_variance_keeps_as_few_components_as_hold_it(threes):
    total = threes.T.cov().trace()
    found = principal_components(threes, 0.8).scaled.square().sum(dim=1) / total
    assert found.sum() >= 0.8 > found[:-1].sum()
    assert (found.diff() <= 0).all()
    assert len(principal_components(threes, 7).scaled) == 7


def test_many_pixels_are_decomposed_as_few_are(threes, monkeypatch):
    exact = principal_components(threes, 0.8)
    monkeypatch.setattr(components, "EXACT", 10)
    monkeypatch.setattr(components, "LEADING", 4)
    state = torch.get_rng_state()
    quick = principal_components(threes, 0.8)
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(quick.scaled.T @ quick.scaled, exact.scaled.T @ exact.scaled, atol=1e-3, rtol=0)


def test_a_local_pca_of_the_whole_class_is_the_classs(robust, train, threes):
    settings = {"neighbours": len(threes), "retained_variance": 1.0}
    local = draws(robust, train, n=500, start="local-pca", **settings)
    assert local.T.cov().trace() == pytest.approx(float(threes.T.cov().trace()), rel=0.1)


def test_a_local_pca_lies_among_an_anchor_and_its_nearest_of_the_class(robust, train, threes):
    """Of two neighbours: on the line through a training image and the one nearest to it."""
    distances = torch.cdist(threes, threes).fill_diagonal_(torch.inf)
    nearest = threes[distances.argmin(dim=1)]
    direction = torch.nn.functional.normalize(nearest - threes, dim=1)
    for start in draws(robust, train, n=20, start="local-pca", neighbours=2, retained_variance=1.0):
        away = start - threes
        along = (away * direction).sum(dim=1, keepdim=True) * direction
        assert (away - along).norm(dim=1).min() < 1e-4


def test_neighbours_may_be_near_in_penultimate_features(robust, train, threes):
    features = penultimate(robust, threes.view(-1, 1, 8, 8))[0]
    nearest = torch.cdist(features, features).fill_diagonal_(torch.inf).argmin(dim=1)
    middles = (threes + threes[nearest]) / 2
    own = {"start": "local-pca", "neighbours": 2, "spread": 0.0}
    for start in draws(robust, train, n=20, features="penultimate", **own):
        assert (start - middles).norm(dim=1).min() < 1e-4
    assert not torch.equal(draws(robust, train, n=20, features="penultimate", **own), draws(robust, train, n=20, **own))


def test_penultimate_features_are_what_the_last_layer_sees(robust):
    features, logits = penultimate(robust, torch.rand(4, 1, 8, 8))
    torch.testing.assert_close(robust.fc2(features), logits)
    with pytest.raises(el.InputError, match="no linear layer at its end"):
        penultimate(torch.nn.Flatten(), torch.rand(4, 1, 8, 8))


@pytest.mark.parametrize("start", STARTS)
def test_a_start_is_its_samples_own(start, robust, train):
    material = Material(robust, train, **GenerationSettings().of_starts)
    y = torch.arange(6) % 3
    together = draw_starts(start, material, y, Noise(0, tuple(range(6))))
    alone = draw_starts(start, material, y[4:5], Noise(0, (4,)))
    torch.testing.assert_close(together[4:5], alone)
    assert together.shape == (6, 1, 8, 8)
    assert not torch.allclose(together, draw_starts(start, material, y, Noise(1, tuple(range(6)))))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "local-pca", "neighbours": 1000}, "1000 neighbours were asked for, class 3 has 132 training images"),
        ({"start": "local-pca", "neighbours": 1}, "takes 2 neighbours or more"),
        ({"start": "pca", "retained_variance": 65}, "65 components were asked for, 132 images of class 3 have 64"),
        ({"start": "local-pca", "retained_variance": 20}, "20 components were asked for, 20 images of class 3 have 19"),
    ],
)
def test_what_a_class_is_too_small_for_is_said(settings, message, robust, train):
    own = GenerationSettings(**settings)
    with pytest.raises(el.InputError, match=message):
        check_starts(own.start, Material(robust, train, **own.of_starts), torch.tensor([LABEL]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "void"}, "unknown start 'void': give one of noise, gaussian, pca, local-pca"),
        ({"loss": "mse"}, "unknown loss 'mse': give one of joint, marginal, ce"),
        ({"guidance": "yes"}, "unknown guidance 'yes'"),
        ({"stop": "now"}, "unknown stop 'now'"),
        ({"features": "dino"}, "unknown features 'dino'"),
        ({"steps": -1}, "steps=-1 cannot be run with"),
        ({"steps": "3"}, "steps='3' cannot be run with: a number 0 or more"),
        ({"step_size": 0.0}, "step size=0 cannot be run with"),
        ({"noise": float("nan")}, "noise=nan cannot be run with"),
        ({"momentum": 1.0}, "momentum 1 never comes to rest"),
        ({"retained_variance": 1.5}, "neither a share in"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(settings, message):
    with pytest.raises(el.InputError, match=message):
        GenerationSettings(**settings)


def canonical(scaled):
    """Whether the largest entry of every direction is positive."""
    return bool((scaled.gather(1, scaled.abs().argmax(dim=1, keepdim=True)) > 0).all())


@pytest.mark.parametrize("exact", [1024, 10])
def test_the_order_of_the_images_turns_no_component(exact, threes, monkeypatch):
    """By the whole decomposition and by its leading part. Before signs were fixed a start moved by .73."""
    monkeypatch.setattr(components, "EXACT", exact)
    monkeypatch.setattr(components, "LEADING", 8)
    alpha = torch.randn(64, generator=torch.Generator().manual_seed(1))
    ordered = principal_components(threes, 8)
    assert canonical(ordered.scaled)
    for seed in range(5):
        shuffled = threes[torch.randperm(len(threes), generator=torch.Generator().manual_seed(seed))]
        found = principal_components(shuffled, 8)
        torch.testing.assert_close(found.scaled, ordered.scaled, atol=1e-6, rtol=0)
        torch.testing.assert_close(found.draw(alpha[:8]), ordered.draw(alpha[:8]), atol=1e-6, rtol=0)


def test_float64_images_have_the_same_components(threes):
    found = principal_components(threes.double(), 0.95)
    assert found.scaled.dtype == torch.float64
    torch.testing.assert_close(found.scaled.float(), principal_components(threes, 0.95).scaled, atol=1e-6, rtol=0)


def test_where_two_entries_are_equally_large_the_first_is_positive():
    """Whichever rounding makes the larger."""
    tied = torch.tensor([[0.1, -1, 0.3, 1], [0.2, 1, 0, -1]], dtype=torch.float64)
    for nudge in (-1e-12, 0, 1e-12):
        nudged = tied + nudge * torch.tensor([0, 1.0, 0, 0])
        assert components._signed(nudged)[:, 1].tolist() == pytest.approx([1, 1])
        assert components._signed(-nudged)[:, 1].tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("retained", [0.5, 0.95, 1.0, 3])
def test_batched_decompositions_are_those_of_each_group(retained, threes, monkeypatch):
    groups = torch.stack([threes[at : at + 20] for at in range(0, 100, 20)])
    monkeypatch.setattr(components, "AT_ONCE", 2 * groups[0].numel())  # two at a time, and one
    found = list(components.components_of_each(groups, retained))
    assert [len(part.mean) for part in found] == [2, 2, 1]
    means, scaled = torch.cat([part.mean for part in found]), torch.cat([part.scaled for part in found])
    alpha = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))
    drawn = torch.cat([part.draw(alpha[2 * at : 2 * at + len(part.mean)]) for at, part in enumerate(found)])
    for row, group in enumerate(groups):
        alone = principal_components(group, retained)
        kept = len(alone.scaled)
        torch.testing.assert_close(means[row], alone.mean)
        torch.testing.assert_close(scaled[row, :kept], alone.scaled, atol=1e-6, rtol=0)
        assert not scaled[row, kept:].any()
        torch.testing.assert_close(drawn[row], alone.draw(alpha[row, :kept]), atol=1e-5, rtol=0)
    (shuffled,) = components.components_of_each(groups[:1].flip(1), retained)
    torch.testing.assert_close(shuffled.draw(alpha[:1]), drawn[:1], atol=1e-6, rtol=0)  # another order of neighbours


def test_equally_near_neighbours_are_taken_in_their_order():
    line = torch.tensor([[0.0], [2.0], [1.0], [3.0], [1.0], [-1.0]])
    assert starts.nearest_of(line, 2, 2).tolist() == [2, 4]  # its own place, its copy
    assert starts.nearest_of(line, 2, 3).tolist() == [0, 2, 4]  # 0 is as far as 2, and comes first
    assert starts.nearest_of(line, 0, 3).tolist() == [0, 2, 4]  # 1, 1 before -1


@pytest.mark.parametrize("held", [0, 2**28])
def test_training_images_are_uploaded_once_where_they_fit_and_the_images_are_the_same(held, robust, train, monkeypatch):
    expected = el.generate(robust, n=6, start="local-pca", steps=1).images
    monkeypatch.setattr(starts, "HELD", held)
    read = []
    original = type(train).images.fget
    monkeypatch.setattr(type(train), "images", property(lambda self: read.append(len(self)) or original(self)))
    material = Material(robust, train, **GenerationSettings().of_starts)
    for _ in range(3):
        draw_starts("local-pca", material, torch.tensor([LABEL, 5]), Noise(0, (0, 1)))
    assert len(read) == (1 if held else 6)
    assert torch.equal(el.generate(robust, n=6, start="local-pca", steps=1).images, expected)


def test_starts_of_an_earlier_draw_are_not_gone_on_with(robust, tmp_path):
    """A folder tells the revision of its start; those whose draw never changed keep their folders."""
    told = {}
    for start in STARTS:
        folder = el.generate(robust, n=2, steps=0, start=start, out=tmp_path).folder
        told[start] = json.loads((folder / "manifest.json").read_text())["identity"]["generation"].get("revision")
    assert told == {
        "noise": None, "gaussian": None, "pca": 2, "local-pca": 2,
    }  # fmt: skip
