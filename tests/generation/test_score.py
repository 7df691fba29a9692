"""Folders against real images: what is compared, what it is called, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import energylens as el
from energylens.data.preprocessing import Preprocessing
from energylens.errors import Note
from energylens.generation import features, score
from energylens.generation.generated import as_picture, to_bytes
from energylens.generation.reference import reference
from energylens.generation.scores import Gaussian, frechet_distance
from energylens.models.zoo import resolve, shipped_weights

SCORES = ["class_score", "frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"]


@pytest.fixture(scope="module", autouse=True)
def no_inception(tmp_path_factory):
    """Torch's cache as it is where nobody has fetched Inception."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of the starts as they are, from noise and from the class Gaussian."""
    out = tmp_path_factory.mktemp("runs")
    made = {
        (start, seed): el.generate("digits-pgd", n=60, start=start, seed=seed, steps=0, out=out)
        for start in ("noise", "gaussian")
        for seed in (0, 1)
    }
    return {name: one.folder for name, one in made.items()}


@pytest.fixture
def pictures(tmp_path):
    """Write images (N, C, H, W) as the pictures of a folder."""

    def write(images, name="pictures"):
        folder = tmp_path / name
        folder.mkdir()
        for number, image in enumerate(images):
            as_picture(image).save(folder / f"{number:03d}.png")
        return folder

    return write


def test_real_lies_nearest_and_noise_farthest(runs):
    scores = el.score(list(runs.values()))
    assert [row.name for row in scores.rows] == ["real (digits test)", "gaussian", "uniform noise", "noise"] or [
        row.name for row in scores.rows
    ] == ["real (digits test)", "gaussian", "noise", "uniform noise"]
    assert (scores.dataset, scores.split, scores.n) == ("digits", "train", 1297)
    assert [row.n for row in scores.rows] == [60] * 4
    real, gaussian = scores.rows[:2]
    assert list(real.values) == SCORES and gaussian.seeds == (0, 1)
    assert real.values["coverage"].value > gaussian.values["coverage"].value > scores.rows[3].values["coverage"].value


def test_seeds_are_one_row_with_the_interval_of_their_mean(runs):
    each = [el.score(runs["gaussian", seed]).rows[1].values["coverage"].value for seed in (0, 1)]
    (row,) = (row for row in el.score(list(runs.values())).rows if row.name == "gaussian")
    found = row.values["coverage"]
    assert found.value == pytest.approx(sum(each) / 2)
    half = 12.706 * abs(each[0] - each[1]) / 2  # Student's t of one degree, times sd / sqrt(2)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=1e-3)


def test_nothing_is_called_fid_in_a_classifiers_features(runs):
    told = json.dumps(el.score(runs["gaussian", 0]).as_numbers()).lower()
    assert "digits-standard penultimate" in told
    assert not any(word in told for word in ("fid", "kid", "inception"))


def test_a_folder_of_the_real_images_is_at_distance_zero(pictures):
    folder = pictures(el.load_data("digits", split="train").images)
    scores = el.score(folder, dataset="digits", layer="logits")
    (row,) = (row for row in scores.rows if row.name == "pictures")
    assert scores.rows[0] is row and scores.features == "digits-standard logits"
    assert row.values["frechet_distance"].value == pytest.approx(0, abs=1e-6)
    assert row.values["coverage"].value == row.values["precision"].value == 1


def test_the_reference_may_be_the_other_split(runs):
    scores = el.score(runs["gaussian", 0], reference="test")
    assert (scores.split, scores.n) == ("test", 500) and "real (digits train)" in {row.name for row in scores.rows}


def test_fewer_images_than_features_are_warned_of_and_have_an_interval(runs):
    scores = el.score(runs["gaussian", 0])
    assert any("60 images have fewer dimensions than the 64 features" in note for note in scores.notes)
    found = next(row for row in scores.rows if row.name == "gaussian").values["frechet_distance"]
    assert found.low < found.value < found.high
    assert (
        next(row for row in el.score(runs["gaussian", 0], layer="logits").rows).values["frechet_distance"].low is None
    )


def test_batches_do_not_matter(runs):
    one, other = (el.score(runs["gaussian", 0], batch_size=size) for size in (7, 500))
    for a, b in zip(one.rows, other.rows, strict=True):
        assert [v.value for v in a.values.values()] == pytest.approx([v.value for v in b.values.values()], rel=1e-4)


def test_reference_statistics_are_kept_and_found(runs, tmp_path, monkeypatch):
    first = el.score(runs["gaussian", 0], out=tmp_path)
    (kept,) = (tmp_path / "reference").iterdir()
    assert kept.name.startswith("digits-train-digits-standard-penultimate-")
    monkeypatch.setattr("energylens.generation.reference._computed", None)
    assert el.score(runs["gaussian", 0], out=tmp_path) == first
    kept.write_bytes(b"half")
    with pytest.raises(el.RunError, match=r"is damaged .* delete it and run the same command again"):
        el.score(runs["gaussian", 0], out=tmp_path)


def test_streamed_statistics_are_those_of_all_features_at_once():
    samples = el.load_data("digits", n=100)
    space = features.extractor("digits", device=torch.device("cpu"))
    found = reference(samples, space, 7, None)
    whole = Gaussian.of(space(to_bytes(samples.images))[0])
    assert frechet_distance(found.gaussian, whole) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(found.root.T @ found.root, whole.root.T @ whole.root, atol=1e-5, rtol=1e-4)


def test_a_thinned_manifold_takes_every_so_manyth(monkeypatch):
    monkeypatch.setattr("energylens.generation.reference.MANIFOLD", 40)
    samples = el.load_data("digits", n=100)
    space = features.extractor("digits", device=torch.device("cpu"))
    kept = reference(samples, space, 7, None).features
    torch.testing.assert_close(kept, space(to_bytes(samples.images))[0][::3], atol=1e-5, rtol=1e-5)


def test_inceptions_scores_are_torch_fidelitys(tmp_path, pictures):
    """With weights at random: the same network, resizing and pixels, whatever they are worth."""
    import torch_fidelity
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, "load_state_dict_from_url", lambda *args, **kwargs: None)
        patch.setattr(inception.FeatureExtractorInceptionV3, "load_state_dict", lambda *args, **kwargs: None)
        weights = inception.FeatureExtractorInceptionV3("inception", ["2048"]).state_dict()
    torch.save(weights, tmp_path / "weights.pth")
    samples, made = el.load_data("digits", n=8), torch.rand(8, 1, 8, 8)
    space = features.extractor("digits", inception_weights=tmp_path / "weights.pth", device=torch.device("cpu"))
    scorer = score.Scorer(samples, space, reference(samples, space, 8, None))
    found = scorer([to_bytes(made)])
    assert list(found)[:3] == ["inception_score", "fid", "kid"]
    expected = torch_fidelity.calculate_metrics(
        input1=str(pictures(made.expand(-1, 3, -1, -1), "made")),
        input2=str(pictures(samples.images.expand(-1, 3, -1, -1), "real")),
        fid=True, isc=True, isc_splits=1, cuda=False, verbose=False, cache=False, save_cpu_ram=True,
        feature_extractor_weights_path=str(tmp_path / "weights.pth"),
    )  # fmt: skip
    assert found["fid"].value == pytest.approx(expected["frechet_inception_distance"], rel=1e-3)
    assert found["inception_score"].value == pytest.approx(expected["inception_score_mean"], rel=1e-5)


def test_a_file_of_other_weights_is_no_inception(tmp_path):
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(el.InputError, match="does not hold Inception's weights"):
        features.extractor("digits", inception_weights=tmp_path / "w.pth", device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"classifier": "digits-pgd", "inception_weights": "w.pth"}, "scores are of one feature space"),
        ({"arch": "digits-cnn"}, "--arch came without a classifier to read: name one with --classifier"),
        ({"datset": "digits"}, "unknown argument 'datset'"),
        ({"layer": "first"}, "unknown layer 'first'"),
        ({"classifier": "autoattack-resnet18"}, r"does not take images of shape \(1, 8, 8\)"),
        ({"reference": "val"}, "has no split 'val'"),
        ({"dataset": "mnist"}, "data set|could not|missing|not found"),
    ],
)
def test_what_cannot_be_scored_in_is_said(space, message, runs, tmp_path):
    with pytest.raises((el.InputError, el.RunError), match=message):
        el.score(runs["gaussian", 0], data_root=tmp_path, **space)


def test_a_classifier_of_ones_own_is_read_as_a_profiles_model_is(runs, tmp_path):
    weights = tmp_path / "mine.safetensors"  # without the JSON beside it
    weights.write_bytes(shipped_weights(resolve("digits-standard")).read_bytes())
    own = {"arch": "digits-cnn", "mean": (0.0,), "std": (1.0,)}  # changes nothing
    scores = el.score(runs["gaussian", 0], classifier=str(weights), **own)
    assert scores.features == "mine.safetensors penultimate"
    assert [row.values for row in scores.rows] == [row.values for row in el.score(runs["gaussian", 0]).rows]
    shifted = el.score(runs["gaussian", 0], classifier=str(weights), **own | {"mean": (0.5,)})
    assert [row.values for row in shifted.rows] != [row.values for row in scores.rows]


def test_a_classifier_sees_the_pictures_in_the_size_that_it_takes():
    space = features.extractor(
        "digits", classifier="digits-pgd", preprocessing="resize=10,crop=8", device=torch.device("cpu")
    )
    pictures = torch.randint(256, (2, 1, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    resized = to_bytes(Preprocessing(10, 8).images(pictures))
    assert space.resize == "Res10Crop8"
    torch.testing.assert_close(space(pictures)[1], space(resized)[1])  # of 8x8, which are left as they are
    assert not torch.allclose(space(pictures)[1], space(pictures[..., 2:10, 2:10])[1])


def test_the_images_of_a_generation_are_those_that_were_asked_for_last(tmp_path):
    """In a folder that holds more, which come back when they are asked for."""
    settings = {"model": "digits-pgd", "start": "gaussian", "steps": 0}
    alone = el.score(el.generate(n=12, out=tmp_path / "alone", **settings).folder)
    folder = el.generate(n=20, out=tmp_path, **settings).folder
    all_of_them = el.score(folder)
    assert el.generate(n=12, out=tmp_path, **settings).folder == folder
    first = el.score(folder)
    assert (first.rows, first.notes[:-1]) == (alone.rows, alone.notes)
    assert first.notes[-1].endswith("8 more images than its last request: `energylens generate --n 20` asks for all")
    assert len(list((folder / "images").iterdir())) == 20
    el.generate(n=20, out=tmp_path, **settings)
    assert el.score(folder) == all_of_them


def test_a_damaged_request_is_said(runs, tmp_path):
    folder = shutil.copytree(runs["gaussian", 0], tmp_path / "copy")
    (folder / "request.json").write_text("{")
    with pytest.raises(el.RunError, match=r"request.json is damaged .* run the `energylens generate` that made it"):
        el.score(folder)


def test_a_data_set_without_a_stand_in_needs_weights_or_a_classifier():
    with pytest.raises(el.InputError, match="no classifier stands in on mnist: give --inception-weights FILE"):
        features.extractor("mnist", device=torch.device("cpu"))


def test_a_folder_of_class_folders_is_read(pictures, tmp_path):
    images = el.load_data("digits", n=30).images
    flat, sorted_ = pictures(images), tmp_path / "sorted"
    for number, path in enumerate(sorted(flat.iterdir())):
        folder = sorted_ / str(number % 3)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    hidden = [sorted_ / ".ipynb_checkpoints" / "000-checkpoint.png", sorted_ / "0" / "._000.png"]
    hidden[0].parent.mkdir()
    for path in hidden:
        path.write_bytes(b"no picture")
    with pytest.warns(Note, match=r"sorted: passed over .*000-checkpoint\.png and 1 more \(hidden\)"):
        one = el.score(sorted_, dataset="digits")
    other = el.score(flat, dataset="digits")
    first, second = (
        next(row for row in scores.rows if row.name in ("sorted", "pictures")).values["frechet_distance"].value
        for scores in (one, other)
    )
    assert first == pytest.approx(second, rel=1e-4)


def test_pictures_of_sixteen_bits_are_scored_as_those_of_eight(pictures, tmp_path):
    images = el.load_data("digits", n=30).images
    eight, sixteen = pictures(images), tmp_path / "sixteen"
    sixteen.mkdir()
    for number, image in enumerate(images):
        Image.fromarray((image[0] * 65535).round().to(torch.int32).numpy().astype(np.uint16)).save(
            sixteen / f"{number:03d}.png"
        )
    scores = el.score([eight, sixteen], dataset="digits")
    values = {row.name: row.values["frechet_distance"].value for row in scores.rows}
    assert values["sixteen"] == pytest.approx(values["pictures"], rel=1e-6)


def test_bad_folders_are_said(pictures, tmp_path, runs):
    with pytest.raises(el.InputError, match="is no folder"):
        el.score(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(el.InputError, match="holds no picture"):
        el.score(tmp_path / "empty")
    mixed = pictures(torch.rand(8, 1, 8, 8), "mixed")
    Image.new("L", (9, 8)).save(mixed / "wide.png")
    with pytest.raises(el.InputError, match=r"several sizes, 000.png \(8, 8\) and wide.png \(8, 9\)"):
        el.score(mixed, dataset="digits")
    small = pictures(torch.rand(8, 1, 6, 6), "small")
    with pytest.raises(el.InputError, match=r"pictures of \(6, 6\) \(height, width\), digits are \(8, 8\)"):
        el.score(small, dataset="digits")
    few = pictures(torch.rand(5, 1, 8, 8), "few")
    with pytest.raises(el.InputError, match="holds 5 pictures: scores take 6 or more"):
        el.score(few, dataset="digits")
    with pytest.raises(el.InputError, match="folders that do not say which came: name it with --dataset"):
        el.score(few)
    (small / "000.png").write_bytes(b"half")
    with pytest.raises(el.RunError, match=r"000.png is damaged .* make it anew"):
        el.score(small, dataset="digits")
