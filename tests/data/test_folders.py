import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from energylens.data import data_set, load_data
from energylens.data.folders import _imagenet_classes
from energylens.errors import InputError, Note, RunError


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
    classes = [f"n{wnid:08} thing {wnid}, object" for wnid in range(1000)]
    (tmp_path / "imagenet" / "LOC_synset_mapping.txt").write_text("\n".join(classes) + "\n")
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
    samples = load_data("imagenet", data_root=imagenet / below)
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
    samples = load_data("imagenet", data_root=imagenet, preprocessing=preprocessing)
    assert samples.image_shape == (3, side, side)
    assert samples.images.shape == (3, 3, side, side)
    assert samples.images.min() >= 0 and samples.images.max() <= 1


def test_the_preprocessing_is_part_of_the_digest(imagenet: Path) -> None:
    default, same, other = (
        load_data("imagenet", data_root=imagenet, preprocessing=name).digest
        for name in (None, "Res256Crop224", "Res224")
    )
    assert default == same != other


def test_the_order_of_the_indices_is_part_of_the_digest(tinyimagenet: Path) -> None:
    before = load_data("tinyimagenet", data_root=tinyimagenet).digest
    annotations = tinyimagenet / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    annotations.write_text("\n".join(reversed(annotations.read_text().splitlines())))
    assert load_data("tinyimagenet", data_root=tinyimagenet).digest != before


def test_tinyimagenet_in_another_size(tinyimagenet: Path) -> None:
    samples = load_data("tinyimagenet", data_root=tinyimagenet, preprocessing="BicubicRes36Crop32")
    assert samples.batch(0, 1)[0].shape == (1, 3, 32, 32)


def test_a_folder_that_may_not_be_read_is_told(imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refused)
    with pytest.raises(RunError, match=r"^imagenet \(test\) .*Permission denied.*--data-root \(ENERGYLENS_DATA\).*$"):
        load_data("imagenet", data_root=imagenet)


def test_sizes_left_as_they_are_do_not_make_a_batch(imagenet: Path) -> None:
    samples = load_data("imagenet", data_root=imagenet, preprocessing="None")
    assert samples.batch(0, 1)[0].shape == (1, 3, 350, 500)
    with pytest.raises(InputError, match=r"b\.JPEG is \(3, 400, 300\) after preprocessing 'None'"):
        samples.batch(0, 2)


def test_an_unknown_preprocessing_is_answered_with_the_pattern(imagenet: Path) -> None:
    with pytest.raises(
        InputError, match=r"unknown preprocessing 'Res999'; expected settings such as .*\[Kind\]Res<n>Crop<m>"
    ):
        load_data("imagenet", data_root=imagenet, preprocessing="Res999")


def test_files_are_decoded_when_a_batch_wants_them(imagenet: Path) -> None:
    broken = imagenet / "imagenet" / "val" / "n00000007" / "b.JPEG"
    broken.write_bytes(broken.read_bytes()[:100])
    samples = load_data("imagenet", data_root=imagenet)
    assert len(samples.batch(0, 1)[0]) == 1
    with pytest.raises(RunError, match=re.escape(f"{broken} could not be read")):
        samples.batch(0, 2)


def test_a_missing_class_is_named_and_moves_no_label(imagenet: Path) -> None:
    (imagenet / "imagenet" / "val" / "n00000000").rmdir()
    with pytest.warns(Note, match=r"^imagenet \(test\), .*val: nothing there for n00000000; the other classes"):
        samples = load_data("imagenet", data_root=imagenet)
    assert samples.labels.tolist() == [7, 7, 999] and len(samples.classes) == 1000


@pytest.mark.parametrize("name", ["imagenet", "tinyimagenet"])
def test_without_a_list_of_all_classes_a_gap_is_refused(name: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(name)
    val = root / data_set(name).folder / "val"
    if name == "tinyimagenet":
        sort_into_classes(val)
    else:
        (val.parent / "LOC_synset_mapping.txt").write_text("n00000001 one class\n")
    shutil.rmtree(val / "n00000000")
    paint(val / "mine" / "a.png", (64, 64))
    number = data_set(name).num_classes
    told = {
        "imagenet": "found no image of a class",
        "tinyimagenet": f"{number - 1} classes in .*mine.*expected {number}",
    }
    with pytest.raises(RunError, match=told[name]):
        load_data(name, data_root=root)


def test_hidden_folders_and_strangers_are_passed_over_by_name(imagenet: Path) -> None:
    val = imagenet / "imagenet" / "val"
    before = load_data("imagenet", data_root=imagenet)
    paint(val / ".ipynb_checkpoints" / "a-checkpoint.png", (300, 300))
    paint(val / "n00000007" / ".ipynb_checkpoints" / "a-checkpoint.JPEG", (300, 300))
    (val / "n00000007" / "._a.JPEG").write_bytes(b"of macOS")
    paint(val / "contact-sheets" / "all.png", (300, 300))
    told = (
        r"passed over \.ipynb_checkpoints, n00000007/\._a\.JPEG, n00000007/\.ipynb_checkpoints/a-checkpoint\.JPEG "
        r"\(hidden\); passed over contact-sheets \(no class of the data set\)$"
    )
    with pytest.warns(Note, match=told):
        after = load_data("imagenet", data_root=imagenet)
    assert after.labels.tolist() == before.labels.tolist() and after.classes == before.classes
    assert after.digest == before.digest


def test_jupyter_does_not_become_a_class_of_tiny_imagenet(tinyimagenet: Path) -> None:
    """With one class missing the number of folders is right, and all labels are off by one."""
    val = tinyimagenet / "tiny-imagenet-200" / "val"
    wnids = [f"n{label:08}" for label in range(200)]
    (val.parent / "wnids.txt").write_text("\n".join(reversed(wnids)) + "\n")
    sort_into_classes(val)
    shutil.rmtree(val / wnids[150])
    paint(val / ".ipynb_checkpoints" / "x.JPEG", (64, 64))
    with pytest.warns(Note, match=r"\.ipynb_checkpoints \(hidden\); nothing there for n00000150"):
        samples = load_data("tinyimagenet", data_root=tinyimagenet)
    assert samples.labels.tolist() == [label for label in range(200) if label != 150]
    assert samples.classes[151] == "thing 151, object"


@pytest.mark.filterwarnings("default::energylens.errors.Note")
def test_the_note_is_a_line_of_the_command_line(tinyimagenet: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    val = tinyimagenet / "tiny-imagenet-200" / "val"
    sort_into_classes(val)
    (val / ".cache").mkdir()
    Path("nets.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Flatten(), nn.Linear(768, 200))\n"
    )
    status, _, error = run(
        "profile", "--model", "nets:net", "-d", "tinyimagenet", "--n", "2", "--attack", "fgsm", "--data-root",
        tinyimagenet, "--preprocessing", "resize=16x16",
    )  # fmt: skip
    assert status == 0, error
    assert f"energylens: tinyimagenet (test), {val}: passed over .cache (hidden)\n" in error


def test_the_classes_of_imagenet_are_those_of_robustbench() -> None:
    wnids = _imagenet_classes()
    assert len(set(wnids)) == 1000 and wnids == sorted(wnids)
    assert (wnids[0], wnids[388]) == ("n01440764", "n02510455")  # the tench, the giant panda


def test_sixteen_bits_a_channel_are_rounded_to_eight(tinyimagenet: Path) -> None:
    """PIL's own conversion gives white for nearly all of a grey picture."""
    images = tinyimagenet / "tiny-imagenet-200" / "val" / "images"
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    colours = np.stack([values, values.T, values[::-1]])
    write_16_bits(images / "val_0.JPEG", values[None])
    write_16_bits(images / "val_1.JPEG", colours)
    grey, colour = load_data("tinyimagenet", data_root=tinyimagenet, n=2).images
    for image, wanted in ((grey, np.stack([values] * 3)), (colour, colours)):
        torch.testing.assert_close(image, torch.from_numpy(wanted / 65535).float(), atol=0.51 / 255, rtol=0)


def write_16_bits(path: Path, values: np.ndarray) -> None:
    """A PNG of (1 or 3, H, W) uint16, whatever the name says; PIL writes no colours of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels, height, width = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values.transpose(1, 2, 0))
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def sort_into_classes(val: Path) -> None:
    """What people do with Tiny ImageNet's val/: a folder a class; images/ stays empty, the annotations stay."""
    for line in (val / "val_annotations.txt").read_text().splitlines():
        name, wnid, *_ = line.split("\t")
        (val / wnid).mkdir(exist_ok=True)
        (val / "images" / name).rename(val / wnid / name)


@pytest.mark.parametrize("name", ["imagenet", "tinyimagenet"])
def test_a_missing_folder_is_answered_with_the_command(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        load_data(name, data_root=tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message and "val/<wnid>/*.JPEG" in message
    assert "run: python -c '" in message and "--data-root (ENERGYLENS_DATA)" in message


def test_classes_without_images_are_refused(imagenet: Path) -> None:
    for image in (imagenet / "imagenet" / "val").rglob("*.JPEG"):
        image.unlink()
    with pytest.raises(RunError, match="found no image"):
        load_data("imagenet", data_root=imagenet)


@pytest.mark.parametrize("below", ["", "tiny-imagenet-200"])
def test_tinyimagenet_as_published(tinyimagenet: Path, below: str) -> None:
    samples = load_data("tinyimagenet", data_root=tinyimagenet / below)
    assert samples.labels.tolist() == list(reversed(range(200))) and samples.image_shape == (3, 64, 64)
    assert samples.classes[1] == "thing 1, object"
    assert samples.classes[0] == "n00000000"  # words.txt lacks it
    x, _ = samples.batch(0, 2)
    assert (x.mean((1, 2, 3)) * 255).round().tolist() == [199, 198]


@pytest.mark.parametrize("rest", [True, False], ids=["images/ and the annotations left", "nothing left"])
def test_tinyimagenet_sorted_into_classes(tinyimagenet: Path, rest: bool) -> None:
    published = load_data("tinyimagenet", data_root=tinyimagenet)
    images = published.images
    val = tinyimagenet / "tiny-imagenet-200" / "val"
    sort_into_classes(val)
    if not rest:
        (val / "images").rmdir()
        (val / "val_annotations.txt").unlink()
    samples = load_data("tinyimagenet", data_root=tinyimagenet)
    assert samples.labels.tolist() == list(range(200)) and samples.classes == published.classes
    assert torch.equal(samples.images, images.flip(0))


def test_tinyimagenet_train_layout(tmp_path: Path) -> None:
    for label in range(200):
        paint(tmp_path / "tiny-imagenet-200" / "train" / f"n{label:08}" / "images" / f"n{label:08}_0.JPEG", (64, 64))
    assert load_data("tinyimagenet", split="train", data_root=tmp_path).labels.tolist() == list(range(200))


def test_an_annotated_file_that_is_missing_is_named(tinyimagenet: Path) -> None:
    missing = tinyimagenet / "tiny-imagenet-200" / "val" / "images" / "val_0.JPEG"
    missing.unlink()
    samples = load_data("tinyimagenet", data_root=tinyimagenet)
    for use in (lambda: samples.digest, lambda: samples.images):
        with pytest.raises(RunError, match=re.escape(f"{missing} could not be read")):
            use()


def test_samples_outlive_a_change_of_directory(tinyimagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their files are read when a batch asks for them."""
    monkeypatch.chdir(tinyimagenet)
    samples = load_data("tinyimagenet", data_root=".", n=2)
    monkeypatch.chdir(tinyimagenet / "tiny-imagenet-200")
    assert samples.images.shape == (2, 3, 64, 64)
