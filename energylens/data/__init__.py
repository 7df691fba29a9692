"""Name -> images, labels, classes: every data set behind `load_data`, every image float32 in [0, 1].

Torch arrives with the first name that needs it, so that the command line can list the data sets in its help for free.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from energylens.data.catalog import DATA_SETS, DataSet, data_set
from energylens.data.preprocessing import Preprocessing, preprocessing_named

if TYPE_CHECKING:
    from energylens.data.images import check_images, check_labels
    from energylens.data.load import lies_here, load_data
    from energylens.data.samples import Samples

__all__ = [
    "DATA_SETS",
    "DataSet",
    "Preprocessing",
    "Samples",
    "check_images",
    "check_labels",
    "data_set",
    "lies_here",
    "load_data",
    "preprocessing_named",
]

_HOMES = {"Samples": "samples", "check_images": "images", "check_labels": "images"}  # the others: load


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'load')}"), name)
