"""Records on disk: whole parts or none, resumable, never mixed."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from energylens.errors import InputError, RunError
from energylens.records.record import COLUMNS
from energylens.records.run_folder import open_run

MANIFEST = {"identity": {"seed": 0}, "eps": {"text": "8/255", "value": 8 / 255}}


def rows(*indices):
    return pd.DataFrame({name: list(indices) if name == "index" else [0] * len(indices) for name in COLUMNS}).astype(
        COLUMNS
    )


def test_parts_come_back_in_order_with_their_seconds(tmp_path):
    run = open_run(tmp_path, "m", "pgd", MANIFEST)
    run.write(rows(5, 6), 1.5)
    run.write(rows(0, 3), 0.25)
    again = open_run(tmp_path, "m", "pgd", MANIFEST)
    assert again.rows()["index"].tolist() == [0, 3, 5, 6]
    assert again.rows().dtypes.astype(str).to_dict() == COLUMNS
    assert again.seconds() == 1.75
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_empty_run_has_the_schema(tmp_path):
    assert open_run(tmp_path, "m", "pgd", MANIFEST).rows().dtypes.astype(str).to_dict() == COLUMNS


def test_pandas_and_arrow_read_the_parts_as_they_are(tmp_path):
    run = open_run(tmp_path, "m", "pgd", MANIFEST)
    run.write(rows(0), 0)
    (part,) = run.path.glob("part-*.parquet")
    assert pd.read_parquet(part)["index"].tolist() == [0]
    assert pq.read_table(part).column_names == list(COLUMNS)
    assert json.loads((run.path / "manifest.json").read_text()) == MANIFEST


def test_other_settings_have_another_folder(tmp_path):
    one = open_run(tmp_path, "m", "pgd", MANIFEST)
    other = open_run(tmp_path, "m", "pgd", {"identity": {"seed": 1}})
    assert one.path != other.path and one.path.parent == other.path.parent


def test_a_folder_of_other_settings_is_refused_and_kept(tmp_path):
    run = open_run(tmp_path, "m", "pgd", MANIFEST)
    run.write(rows(0), 0)
    (run.path / "manifest.json").write_text('{"identity": {"seed": 7}}')
    with pytest.raises(InputError, match=r"seed is 7 there and 0 here.*--overwrite"):
        open_run(tmp_path, "m", "pgd", MANIFEST)
    assert len(run.parts()) == 1
    assert not open_run(tmp_path, "m", "pgd", MANIFEST, overwrite=True).parts()


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_a_broken_manifest_is_said(tmp_path, text):
    run = open_run(tmp_path, "m", "pgd", MANIFEST)
    (run.path / "manifest.json").write_text(text)
    with pytest.raises(RunError, match=r"manifest.json is damaged.*delete this file.*the rest is kept"):
        open_run(tmp_path, "m", "pgd", MANIFEST)


@pytest.mark.parametrize("content", [b"", b"PAR1 not parquet PAR1"])
def test_a_damaged_part_is_named(tmp_path, content):
    run = open_run(tmp_path, "m", "pgd", MANIFEST)
    run.write(rows(0), 0)
    run.parts()[0].write_bytes(content)
    with pytest.raises(RunError, match=r"part-00000000-\w+\.parquet is damaged.*delete this file"):
        run.rows()


def test_a_single_wrong_byte_is_found(tmp_path):
    """Parquet would read on without a word: its pages carry checksums."""
    run = open_run(tmp_path, "m", "pgd", MANIFEST)
    run.write(rows(*range(1000)), 0)
    (part,) = run.parts()
    content = bytearray(part.read_bytes())
    content[1000] ^= 1
    part.write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        run.rows()


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write to .*--out"):
        open_run(tmp_path / "file", "m", "pgd", MANIFEST)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    run = open_run(tmp_path, "m", "pgd", MANIFEST)

    def full(table, where, **options):
        where.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(RunError, match=r"No space left on device.*finished blocks are kept"):
        run.write(rows(0), 0)
    assert [path.name for path in run.path.iterdir() if not path.name.startswith(".lock")] == ["manifest.json"]
