"""Files as people share them: permissions, unreadable ones, links, a changed directory, what a killed writer left."""

import ctypes
import errno
import json
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pandas as pd
import pytest
import torch

import energylens as el
from energylens.files import reading, shown
from energylens.generation.pictures import read_pictures
from energylens.generation.reference import _read as read_reference
from energylens.records.merging import merge
from energylens.records.run_folder import open_run
from energylens.tables.profile_runs import find_runs, read_records
from energylens.tables.training_runs import read_run
from energylens.training.checkpoint import copy_weights, load_state, save_state, save_weights
from energylens.training.history import History

MANIFEST = {"identity": {"seed": 0, "also": ["images"]}}


def rows(*indices):
    columns = el.profile("digits-standard", n=1, attacks=["fgsm"], ladder=False)["fgsm"].rows
    return pd.concat([columns.assign(index=index) for index in indices], ignore_index=True)


def images(count):
    return {"x_adv": torch.zeros(count, 1, 8, 8)}


@pytest.fixture
def run_folder(tmp_path):
    run = open_run(tmp_path / "out", "m", "pgd", MANIFEST)
    run.write(rows(0, 1), 1.0, images(2))
    return run


@pytest.fixture
def open_folder():
    """A folder that everybody may enter: pytest's own are the user's alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def kept_from(path):
    """The file or folder may not be read inside, by root neither, who gives up reading what is not root's to read."""
    mode = path.stat().st_mode
    path.chmod(0o000)
    try:
        with without_privileges() if os.geteuid() == 0 else nullcontext():
            yield
    finally:
        path.chmod(mode)


@contextmanager
def without_privileges():
    """This thread of root's obeys permissions: without Linux's capabilities 1 and 2, CAP_DAC_OVERRIDE and
    CAP_DAC_READ_SEARCH. Another user would not do: Python's own files may lie in a folder of root's alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    version_3, this_thread = 0x20080522, 0
    header, sets = (ctypes.c_uint32 * 2)(version_3, this_thread), (ctypes.c_uint32 * 6)()  # effective first, twice
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    effective = sets[0]
    sets[0] &= ~0b110
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0


@pytest.fixture(params=[0o022, 0o007, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_every_file_has_the_permissions_of_the_umask(umask, tmp_path):
    weights = {"w": torch.zeros(2)}
    save_weights(tmp_path / "best.safetensors", weights, {"arch": "digits-cnn"})
    copy_weights(tmp_path / "best.safetensors", tmp_path / "last.safetensors")
    save_state(tmp_path, weights)
    el.profile("digits-standard", n=2, attacks=["fgsm"], save_images=True, ladder=False, out=tmp_path)
    el.generate(n=2, steps=0, start="noise", out=tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {".safetensors", ".parquet", ".json", ".png", ".pt"} <= {path.suffix for path in files}
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in files} == dict.fromkeys(files, 0o666 & ~umask)


def profiled(folder):
    el.profile("digits-standard", n=2, attacks=["fgsm"], save_images=True, ladder=False, out=folder)
    return next(run for run in find_runs([folder])[0] if run.path.name.startswith("fgsm"))


def shared(folder):
    """A folder of everything that others read: its readers by the file that each of them needs."""
    record = profiled(folder / "share")
    fgsm = record.path
    manifest, (part,), (kept,) = fgsm / "manifest.json", fgsm.glob("part-*"), fgsm.glob("images-*")
    made = el.generate(n=2, steps=0, start="noise", out=folder / "made").folder
    training = folder / "training"
    training.mkdir()
    save_weights(training / "best.safetensors", el.load_model("digits-standard").state_dict(), {"arch": "digits-cnn"})
    save_state(training, {"epoch": 1})
    identity = {"identity": {"settings": {"epochs": 1}}}
    (training / "manifest.json").write_text(json.dumps(identity))
    pd.DataFrame({"epoch": [1], "val_pgd": [0.5]}).to_parquet(training / "history.parquet")
    out = folder / "out"
    out.mkdir()
    out.chmod(0o777)

    def profile():
        return profiled(folder / "share")

    def report():
        return [record.frame() for record in read_records(find_runs([folder / "share"])[0])]

    def put_together():
        return merge([folder / "share"], out / str(len(list(out.iterdir()))))

    return [
        *((manifest, reader) for reader in (profile, report, put_together)),
        *((part, reader) for reader in (profile, report, put_together)),
        *((kept, reader) for reader in (lambda: record.images([0]), put_together)),
        *((fgsm, reader) for reader in (report, put_together, record.rows)),
        (fgsm.parent, report),
        *((training / name, lambda: el.load_model(str(training / "best.safetensors"))) for name in weights_and_json()),
        (training, lambda: el.load_model(str(training / "best.safetensors"))),
        (training / "state.pt", lambda: load_state(training)),
        (training / "history.parquet", lambda: History.read(training, 1)),
        *((training / name, lambda: read_run(training)) for name in ("manifest.json", "history.parquet")),
        (training, lambda: read_run(training)),
        (made / "images", lambda: read_pictures(made)),
        *((made / name, lambda: read_pictures(made)) for name in ("manifest.json", "request.json")),
        (made / "images/000000-0.png", lambda: read_pictures(made)),
    ]


def weights_and_json():
    return "best.safetensors", "best.json"


def test_what_may_not_be_read_is_not_called_damaged(open_folder):
    """Each reader, kept from what it needs: the reason is named, and nothing is advised that would cost the file."""
    for path, read in shared(open_folder):
        read()
        with pytest.raises(el.RunError, match="no permission to read") as refusal, kept_from(path):
            read()
        said = str(refusal.value)
        assert str(path) in said and "\n" not in said
        assert not [word for word in ("is damaged", "delete", "overwrite", "anew") if word in said], said


def test_a_disk_that_fails_is_not_damage_either(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    message = r"could not be read \(Input/output error\)"
    with pytest.raises(el.RunError, match=message) as refusal, reading(path, "delete it"):
        raise OSError(errno.EIO, "Input/output error")
    assert "delete" not in str(refusal.value)


def test_what_fails_its_checksum_is_damaged(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    with (
        pytest.raises(el.RunError, match=r"file is damaged \(CRC failed\): mend it"),
        reading(path, "mend it"),
    ):
        raise OSError("CRC failed")  # as pyarrow tells of it: without a number


def test_images_that_are_gone_are_named_with_the_rows_that_lack_them(run_folder):
    (kept,) = run_folder.path.glob("images-*")
    kept.unlink()
    with pytest.raises(el.RunError, match=rf"put {kept.name} back, or delete part-.*\.parquet") as refusal:
        run_folder.images([0, 1])
    assert "--overwrite" not in str(refusal.value)


def test_a_record_outlives_a_change_of_directory(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    record = el.profile("digits-standard", n=2, attacks=["fgsm"], save_images=True, ladder=False, out="runs")
    made = el.generate(n=2, steps=0, start="noise", out="runs")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert record["fgsm"].images()["x_adv"].shape == (2, 1, 8, 8)
    assert record.folder.is_dir() and made.folder.is_dir()
    assert shown(record.folder) == record.folder
    monkeypatch.chdir(tmp_path)
    assert shown(record.folder) == Path("runs/digits-standard")


def test_what_killed_writers_left_goes_with_the_next_write_and_not_before(run_folder):
    left = [".tmpAb12Cd", ".part-00000000-aa.parquet.there-7.tmp", ".images-00000000-aa.safetensors.there-7.tmp"]
    others = [".tmp", ".tmpAb12Cd.md", "notes.tmp"]
    for name in [*left, *others]:
        (run_folder.path / name).write_bytes(b"half")
    run_folder.rows()
    open_run(run_folder.path.parents[1], "m", "pgd", MANIFEST)
    assert all((run_folder.path / name).exists() for name in left)  # their writer may be at work
    run_folder.write(rows(2), 1.0, images(1))
    assert not [name for name in left if (run_folder.path / name).exists()]
    assert all((run_folder.path / name).exists() for name in others)


def test_a_generation_sweeps_its_folders(tmp_path):
    folder = el.generate(n=2, steps=0, start="noise", out=tmp_path).folder
    left = [".tmpAb12Cd", ".images.safetensors.there-7.tmp", "images/.000000-0.png.there-7.tmp"]
    for name in left:
        (folder / name).write_bytes(b"half")
    el.generate(n=2, steps=0, start="noise", out=tmp_path)
    assert not [name for name in left if (folder / name).exists()]


def test_a_linked_model_folder_is_merged_and_reported(tmp_path):
    profiled(tmp_path / "scratch")
    (tmp_path / "share").mkdir()
    (tmp_path / "share/digits-standard").symlink_to(tmp_path / "scratch/digits-standard")
    (tmp_path / "share/loop").symlink_to(tmp_path / "share")
    merged = merge([tmp_path / "share"], tmp_path / "all")
    assert [(run.added, run.path.parent.name) for run in merged] == [(2, "digits-standard")] * 2
    assert len(find_runs([tmp_path / "share"])[0]) == 2


def test_a_damaged_reference_is_told_from_one_that_may_not_be_read(open_folder):
    path = open_folder / "reference.safetensors"
    path.write_bytes(b"half")
    with pytest.raises(el.RunError, match=r"is damaged .* delete it"):
        read_reference(path)
    with pytest.raises(el.RunError, match="no permission"), kept_from(path):
        read_reference(path)
