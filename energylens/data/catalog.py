"""The data sets as a table: adding one is adding a row (and a loader, where no present one reads its layout).

Facts only: nothing here imports torch, torchvision or scikit-learn.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from energylens.errors import InputError, RunError, did_you_mean

BOTH = ("train", "test")


@dataclass(frozen=True)
class DataFile:
    """One file (or a pattern of files) below the data set's folder.

    Attributes:
        path: where, or which.
        md5: its checksum, if known.
        splits: those that need it.
        also: other names that it may go by; one that ends in .gz is packed by gzip, and md5 is of what it holds.
    """

    path: str
    md5: str | None = None
    splits: tuple[str, ...] = BOTH
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """One row: what a data set is, where its files lie, who reads them and how they are fetched.

    Attributes:
        name: as the command line has it.
        num_classes: how many classes there are, K.
        image_shape: (C, H, W).
        default_eps: the radius usually attacked, per norm, for images in [0, 1].
        loader: "module:function", called with a `Request`, answers a `Source`.
        citation: who made it, and where that is told.
        sizes: how many images a split has.
        folder: where below the data root the files lie.
        elsewhere: other folders where they may, "" for the root itself.
        files: what is read.
        fetch: Python that fetches the files, with {root} for the data root.
        before_fetch: what a person must do first.
        preprocessing: the default, as `preprocessing_named` reads it.
    """

    name: str
    num_classes: int
    image_shape: tuple[int, int, int]
    default_eps: Mapping[str, float]
    loader: str
    citation: str
    sizes: Mapping[str, int]
    folder: str = ""
    elsewhere: tuple[str, ...] = ()
    files: tuple[DataFile, ...] = ()
    fetch: str = ""
    before_fetch: str = ""
    preprocessing: str = "None"

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(self.sizes)

    def files_of(self, split: str) -> tuple[DataFile, ...]:
        """The files that reading one split takes.

        Args:
            split: "train" or "test".

        Returns:
            Its files; none for a data set that comes with a package.
        """
        return tuple(file for file in self.files if split in file.splits)

    def places(self, root: Path) -> tuple[Path, ...]:
        """The folders in which the files may lie, the usual one first.

        Args:
            root: of all data sets.

        Returns:
            The folders, which need not exist.
        """
        return tuple(root / folder for folder in (self.folder, *self.elsewhere))

    def fetch_command(self, root: Path) -> str:
        """The shell command that fetches the files below `root`.

        Args:
            root: of all data sets.

        Returns:
            One line for a shell.
        """
        return f"python -c {shlex.quote(self.fetch.format(root=json.dumps(str(root))))}"


@dataclass(frozen=True)
class Request:
    """What a loader is asked for; every field is checked before it gets there.

    Attributes:
        data_set: the row.
        split: one of the row's splits.
        root: the data root.
        preprocessing: how pictures are resized and cropped, as `preprocessing_named` reads it.
    """

    data_set: DataSet
    split: str
    root: Path
    preprocessing: str

    def unread(self, places: str, fault: str, fetch: str) -> RunError:
        """The error that says what is wrong with the files, and the command that fetches them.

        Args:
            places: where they were looked for.
            fault: what is wrong.
            fetch: how the command is introduced.

        Returns:
            The error, to be raised.
        """
        return RunError(
            f"{self.data_set.name} ({self.split}) could not be read. Looked in {places}; {fault}. "
            f"{fetch}: {self.data_set.fetch_command(self.root)} "
            "or point --data-root (ENERGYLENS_DATA) to a folder that has it."
        )


def _idx(name: str, md5: str, split: str) -> DataFile:
    """A file of MNIST, unpacked or as published, also with the dot that some unpackers and Kaggle write."""
    dotted = name.replace("-idx", ".idx")
    return DataFile(name, md5, (split,), (f"{name}.gz", dotted, f"{dotted}.gz"))


_ROWS = (
    DataSet(
        name="digits",
        num_classes=10,
        image_shape=(1, 8, 8),
        default_eps={"linf": 0.2, "l2": 0.5},  # both ours [R], no reason on record
        loader="energylens.data.embedded:load_digits",
        citation="Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI (as in scikit-learn)",
        sizes={"train": 1_297, "test": 500},
    ),
    DataSet(
        name="mnist",
        num_classes=10,
        image_shape=(1, 28, 28),
        default_eps={"linf": 0.3, "l2": 2.0},  # linf: arXiv 1706.06083; l2: ours [R], no reason on record
        loader="energylens.data.torchvision_sets:load_mnist",
        citation="LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition",
        sizes={"train": 60_000, "test": 10_000},
        folder="MNIST/raw",
        elsewhere=("MNIST", "mnist", ""),
        files=(
            _idx("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", "train"),
            _idx("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", "train"),
            _idx("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", "test"),
            _idx("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637", "test"),
        ),
        fetch="from torchvision.datasets import MNIST; MNIST({root}, download=True)",
    ),
    DataSet(
        name="cifar10",
        num_classes=10,
        image_shape=(3, 32, 32),
        default_eps={"linf": 8 / 255, "l2": 0.5},
        loader="energylens.data.torchvision_sets:load_cifar",
        citation="Krizhevsky 2009, Learning multiple layers of features from tiny images",
        sizes={"train": 50_000, "test": 10_000},
        folder="cifar-10-batches-py",
        files=(
            DataFile("data_batch_1", "c99cafc152244af753f735de768cd75f"),
            DataFile("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            DataFile("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            DataFile("data_batch_4", "634d18415352ddfa80567beed471001a"),
            DataFile("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
            DataFile("test_batch", "40351d587109b95175f43aff81a1287e"),
            DataFile("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
        ),
        fetch="from torchvision.datasets import CIFAR10; CIFAR10({root}, download=True)",
    ),
    DataSet(
        name="cifar100",
        num_classes=100,
        image_shape=(3, 32, 32),
        default_eps={"linf": 8 / 255, "l2": 0.5},
        loader="energylens.data.torchvision_sets:load_cifar",
        citation="Krizhevsky 2009, Learning multiple layers of features from tiny images",
        sizes={"train": 50_000, "test": 10_000},
        folder="cifar-100-python",
        files=(
            DataFile("train", "16019d7e3df5f24257cddd939b257f8d"),
            DataFile("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
            DataFile("meta", "7973b15100ade9c7d40fb424638fde48"),
        ),
        fetch="from torchvision.datasets import CIFAR100; CIFAR100({root}, download=True)",
    ),
    DataSet(
        name="svhn",
        num_classes=10,
        image_shape=(3, 32, 32),
        default_eps={"linf": 8 / 255, "l2": 0.5},
        loader="energylens.data.torchvision_sets:load_svhn",
        citation="Netzer et al. 2011, Reading digits in natural images with unsupervised feature learning",
        sizes={"train": 73_257, "test": 26_032},
        files=(
            DataFile("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373", ("train",)),
            DataFile("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3", ("test",)),
        ),
        fetch='from torchvision.datasets import SVHN; [SVHN({root}, s, download=True) for s in ("train", "test")]',
    ),
    DataSet(
        name="tinyimagenet",
        num_classes=200,
        image_shape=(3, 64, 64),
        default_eps={"linf": 8 / 255, "l2": 0.5},
        loader="energylens.data.folders:load_folders",
        citation="Le & Yang 2015, Tiny ImageNet visual recognition challenge (Stanford CS231n)",
        sizes={"train": 100_000, "test": 10_000},
        folder="tiny-imagenet-200",
        elsewhere=("",),
        files=(
            DataFile("train/<wnid>/images/*.JPEG", splits=("train",)),
            DataFile("val/images/*.JPEG with val/val_annotations.txt, or val/<wnid>/*.JPEG", splits=("test",)),
        ),
        fetch="from torchvision.datasets.utils import download_and_extract_archive as fetch; "
        'fetch("http://cs231n.stanford.edu/tiny-imagenet-200.zip", {root})',
    ),
    DataSet(
        name="imagenet",
        num_classes=1000,
        image_shape=(3, 224, 224),
        # linf: RobustBench's; l2: ours [R], a radius of MadryLab's public models (arXiv 2007.08489)
        default_eps={"linf": 4 / 255, "l2": 3.0},
        loader="energylens.data.folders:load_folders",
        citation="Russakovsky et al. 2015, ImageNet large scale visual recognition challenge (arXiv:1409.0575)",
        sizes={"test": 50_000},
        folder="imagenet",
        elsewhere=("",),
        files=(DataFile("val/<wnid>/*.JPEG", splits=("test",)),),
        # torchvision unpacks the archives; ImageNet's terms want a person to fetch them.
        fetch='from torchvision.datasets import ImageNet; ImageNet({root} + "/imagenet", split="val")',
        before_fetch="put ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz (from image-net.org, which wants you "
        "to register) into the folder imagenet of the data root",
        preprocessing="Res256Crop224",
    ),
)

DATA_SETS: Mapping[str, DataSet] = {row.name: row for row in _ROWS}


def data_set(name: str) -> DataSet:
    """The row of that name.

    Args:
        name: of a row of DATA_SETS.

    Returns:
        The row.

    Raises:
        InputError: for another name, with the close matches and the whole list.

    Example:
        >>> data_set("cifar10").image_shape
        (3, 32, 32)
    """
    if name not in DATA_SETS:
        meant = did_you_mean(name.lower(), DATA_SETS, most=3)
        raise InputError(
            f"unknown data set {name!r}: {meant}give one of {', '.join(DATA_SETS)}; images of your own, a folder or "
            "tensors, go from Python: el.profile(model, ImageFolder(...)) or el.profile(model, (x, y))"
        )
    return DATA_SETS[name]
