import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from energylens.data import load_data
from energylens.errors import InputError, RunError


def paint(path: Path, size: tuple[int, int], colour: tuple[int, int, int] = (255, 0, 0), mode: str = "RGB") -> None:
    """size: width, height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A data root with 1,000 classes and three images."""
    val = tmp_path / "imagenet" / "val"
    for wnid in range(1000):
        (val / f"n{wnid:08}").mkdir(parents=True)
    paint(val / "n00000007" / "b.JPEG", (300, 400))
    paint(val / "n00000007" / "a.JPEG", (500, 350), (0, 255, 0))
    paint(val / "n00000999" / "c.JPEG", (320, 320), mode="L")
    (val / "n00000007" / "readme.txt").touch()
    return tmp_path


@pytest.fixture
def tinyimagenet(tmp_path: Path) -> Path:
    """A data root with the 200 classes in the published layout, one image each, listed from the last class on."""
    folder = tmp_path / "tiny-imagenet-200"
    lines, words = [], []
    for label in reversed(range(200)):
        name = f"val_{199 - label}.JPEG"
        paint(folder / "val" / "images" / name, (64, 64), (label, label, label))
        lines.append(f"{name}\tn{label:08}\t0\t0\t62\t62")
        words.append(f"n{label:08}\tthing {label}, object")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (folder / "words.txt").write_text("\n".join(words[:-1]) + "\n")
    return tmp_path


@pytest.mark.parametrize("below", ["", "imagenet"])
def test_imagenet_from_the_data_root_or_its_own_folder(imagenet: Path, below: str) -> None:
    samples = load_data("imagenet", root=imagenet / below)
    assert len(samples) == 3 and len(samples.classes) == 1000
    assert samples.labels.tolist() == [7, 7, 999] and samples.classes[7] == "n00000007"
    x, y = samples.batch(0, 3)
    assert x.shape == (3, 3, 224, 224) and x.dtype == torch.float32 and y.tolist() == [7, 7, 999]
    assert x[0, 1].min() > 0.9 and x[1, 0].min() > 0.9  # a.JPEG is green, b.JPEG red
    assert torch.equal(x[2, 0], x[2, 1])  # a grey file has three channels all the same
    assert torch.equal(samples.subset([2]).images, x[2:])


@pytest.mark.parametrize(
    ("preprocessing", "side"),
    [("Res256Crop224", 224), ("BicubicRes256Crop224", 224), ("Crop288", 288), ("Res224", 224), ("Res72x72Crop64", 64)],
)
def test_imagenet_preprocessings(imagenet: Path, preprocessing: str, side: int) -> None:
    samples = load_data("imagenet", root=imagenet, preprocessing=preprocessing)
    assert samples.image_shape == (3, side, side)
    assert samples.images.shape == (3, 3, side, side)
    assert samples.images.min() >= 0 and samples.images.max() <= 1


def test_the_preprocessing_is_part_of_the_digest(imagenet: Path) -> None:
    default, same, other = (
        load_data("imagenet", root=imagenet, preprocessing=name).digest for name in (None, "Res256Crop224", "Res224")
    )
    assert default == same != other


def test_the_order_of_the_indices_is_part_of_the_digest(tinyimagenet: Path) -> None:
    before = load_data("tinyimagenet", root=tinyimagenet).digest
    annotations = tinyimagenet / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    annotations.write_text("\n".join(reversed(annotations.read_text().splitlines())))
    assert load_data("tinyimagenet", root=tinyimagenet).digest != before


def test_tinyimagenet_in_another_size(tinyimagenet: Path) -> None:
    samples = load_data("tinyimagenet", root=tinyimagenet, preprocessing="BicubicRes36Crop32")
    assert samples.batch(0, 1)[0].shape == (1, 3, 32, 32)


def test_a_folder_that_may_not_be_read_is_told(imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refused)
    with pytest.raises(RunError, match=r"^imagenet \(test\) .*Permission denied.*--data-root \(ENERGYLENS_DATA\).*$"):
        load_data("imagenet", root=imagenet)


def test_sizes_left_as_they_are_do_not_make_a_batch(imagenet: Path) -> None:
    samples = load_data("imagenet", root=imagenet, preprocessing="None")
    assert samples.batch(0, 1)[0].shape == (1, 3, 350, 500)
    with pytest.raises(InputError, match=r"b\.JPEG is \(3, 400, 300\) after preprocessing 'None'"):
        samples.batch(0, 2)


def test_an_unknown_preprocessing_is_answered_with_the_pattern(imagenet: Path) -> None:
    with pytest.raises(InputError, match=r"unknown preprocessing 'Res999'; expected \[Kind\]Res<n>Crop<m>"):
        load_data("imagenet", root=imagenet, preprocessing="Res999")


def test_files_are_decoded_when_a_batch_wants_them(imagenet: Path) -> None:
    broken = imagenet / "imagenet" / "val" / "n00000007" / "b.JPEG"
    broken.write_bytes(broken.read_bytes()[:100])
    samples = load_data("imagenet", root=imagenet)
    assert len(samples.batch(0, 1)[0]) == 1
    with pytest.raises(RunError, match=re.escape(f"{broken} could not be read")):
        samples.batch(0, 2)


def test_a_gap_in_the_classes_is_refused(imagenet: Path) -> None:
    (imagenet / "imagenet" / "val" / "n00000000").rmdir()
    with pytest.raises(RunError, match=r"found 999 classes in .*val, expected 1000"):
        load_data("imagenet", root=imagenet)


@pytest.mark.parametrize("name", ["imagenet", "tinyimagenet"])
def test_a_missing_folder_is_answered_with_the_command(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        load_data(name, root=tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message and "val/<wnid>/*.JPEG" in message
    assert "run: python -c '" in message and "--data-root (ENERGYLENS_DATA)" in message


def test_classes_without_images_are_refused(imagenet: Path) -> None:
    for image in (imagenet / "imagenet" / "val").rglob("*.JPEG"):
        image.unlink()
    with pytest.raises(RunError, match="found no image"):
        load_data("imagenet", root=imagenet)


@pytest.mark.parametrize("below", ["", "tiny-imagenet-200"])
def test_tinyimagenet_as_published(tinyimagenet: Path, below: str) -> None:
    samples = load_data("tinyimagenet", root=tinyimagenet / below)
    assert samples.labels.tolist() == list(reversed(range(200))) and samples.image_shape == (3, 64, 64)
    assert samples.classes[1] == "thing 1, object"
    assert samples.classes[0] == "n00000000"  # words.txt lacks it
    x, _ = samples.batch(0, 2)
    assert (x.mean((1, 2, 3)) * 255).round().tolist() == [199, 198]


def test_tinyimagenet_sorted_into_classes(tinyimagenet: Path) -> None:
    published = load_data("tinyimagenet", root=tinyimagenet)
    images = published.images
    val = tinyimagenet / "tiny-imagenet-200" / "val"
    for position, label in enumerate(reversed(range(200))):
        (val / f"n{label:08}").mkdir()
        (val / "images" / f"val_{position}.JPEG").rename(val / f"n{label:08}" / f"val_{position}.JPEG")
    (val / "images").rmdir()
    (val / "val_annotations.txt").unlink()
    samples = load_data("tinyimagenet", root=tinyimagenet)
    assert samples.labels.tolist() == list(range(200)) and samples.classes == published.classes
    assert torch.equal(samples.images, images.flip(0))


def test_tinyimagenet_train_layout(tmp_path: Path) -> None:
    for label in range(200):
        paint(tmp_path / "tiny-imagenet-200" / "train" / f"n{label:08}" / "images" / f"n{label:08}_0.JPEG", (64, 64))
    assert load_data("tinyimagenet", split="train", root=tmp_path).labels.tolist() == list(range(200))


def test_an_annotated_file_that_is_missing_is_named(tinyimagenet: Path) -> None:
    missing = tinyimagenet / "tiny-imagenet-200" / "val" / "images" / "val_0.JPEG"
    missing.unlink()
    samples = load_data("tinyimagenet", root=tinyimagenet)
    for use in (lambda: samples.digest, lambda: samples.images):
        with pytest.raises(RunError, match=re.escape(f"{missing} could not be read")):
            use()


def test_samples_outlive_a_change_of_directory(tinyimagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their files are read when a batch asks for them."""
    monkeypatch.chdir(tinyimagenet)
    samples = load_data("tinyimagenet", root=".", n=2)
    monkeypatch.chdir(tinyimagenet / "tiny-imagenet-200")
    assert samples.images.shape == (2, 3, 64, 64)
