"""Compressed files and texts in other encodings, through the readers that people use."""

import bz2
import gzip
import io
import lzma
import re
import sys
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pytest

from vigamma.data.files import SparseCounts
from vigamma.data.readers.text_files import FormatError, numbered_lines, shown
from vigamma.terminal.invocation import pip_install

TEXT = "user,item,count\nann,jäzz,1\nbob,folk,2\n"
MATRIX = "%%MatrixMarket matrix coordinate integer general\n2 2 2\n1 2 1\n2 1 2\n"


def zipped(data: bytes, *names) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names or ("counts.csv",):
            archive.writestr(name, data)
    return file.getvalue()


def as_zstandard(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def as_tar(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("counts.csv"))
    return file.getvalue()


PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": as_zstandard,
    "zip": zipped,
}


def encrypted(data: bytes) -> bytes:
    """As such it is marked, in the header of the file and in that of the archive."""
    marked = bytearray(zipped(data))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        marked[marked.index(signature) + place] |= 1
    return bytes(marked)


def load(path, data: bytes, **fields):
    path.write_bytes(data)
    return SparseCounts(path=str(path), **fields).load()


@pytest.mark.parametrize("end", PACKERS)
@pytest.mark.parametrize(("name", "text"), [("a.csv", TEXT), ("a.mtx", MATRIX), ("a", MATRIX)])
def test_compressed_texts_are_read(tmp_path, end, name, text):
    loaded = load(tmp_path / f"{name}.{end}", PACKERS[end](text.encode()))
    np.testing.assert_array_equal(loaded.counts.toarray(), [[0, 1], [2, 0]])


@pytest.mark.parametrize("end", PACKERS)
def test_a_compressed_file_cut_short_is_named(tmp_path, end):
    data = PACKERS[end]((TEXT + "cat,rock,3\n" * 2000).encode())
    with pytest.raises(FormatError, match=rf"a.csv.{end} is (cut short or damaged|not .*): ."):
        load(tmp_path / f"a.csv.{end}", data[: len(data) - 6])


def test_a_compressed_file_with_a_wrong_byte_is_named(tmp_path):
    data = bytearray(gzip.compress(TEXT.encode()))
    data[10] = 0b111  # a last block of no type
    with pytest.raises(FormatError, match=r"a.csv.gz is cut short or damaged: .*block type"):
        load(tmp_path / "a.csv.gz", data)


def test_what_macos_adds_to_a_zip_is_passed_over(tmp_path):
    loaded = load(tmp_path / "a.zip", zipped(TEXT.encode(), "a.csv", "__MACOSX/._a.csv"))
    np.testing.assert_array_equal(loaded.counts.toarray(), [[0, 1], [2, 0]])


def test_names_beside_and_parts_may_be_compressed(tmp_path):
    (tmp_path / "rows.txt.xz").write_bytes(lzma.compress(b"r0\nr1\n"))
    loaded = load(tmp_path / "a.mtx.bz2", bz2.compress(MATRIX.encode()))
    assert loaded.row_names.tolist() == ["r0", "r1"]
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/train.csv.zip").write_bytes(zipped(TEXT.encode()))
    (tmp_path / "parts/test.csv.xz").write_bytes(lzma.compress(b"u,i,n\nann,folk,5\n"))
    loaded = SparseCounts(path=str(tmp_path / "parts")).load()
    np.testing.assert_array_equal(loaded.counts.toarray(), [[5, 1], [2, 0]])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (zipped(b"", "a.csv", "b.csv"), r"has 2 files \(a.csv, b.csv\); unpack it, and name one"),
        (zipped(b"", *"abcde"), r"has 5 files \(a, b, c, d, e\); unpack it"),
        (zipped(b"", *"abcdef"), r"has 6 files \(a, b, c, d, e, ...\); unpack it"),
        (zipped(b"", "[Content_Types].xml", "xl/a.xml"), "is a workbook of a spreadsheet; save it"),
        (encrypted(b"u,i,3"), "is encrypted; unpack it first"),
        (as_tar(b""), "is an archive of tar; unpack it first"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(9), "is compressed by 7z; unpack it first"),
        (b"Rar!\x1a\x07" + bytes(9), "is compressed by rar; unpack it first"),
        (b"\x1f\x9d" + bytes(9), "is compressed by compress; unpack it first"),
        (b"\x04\x22\x4d\x18" + bytes(9), "is compressed by lz4; unpack it first"),
        (gzip.compress(b"\x89HDF" + bytes(99)), "has single cells of AnnData in it, compressed: "),
    ],
    ids=[
        "zip", "zip of 5", "zip of 6", "workbook", "encrypted", "tar", "7z", "rar", "compress",
        "lz4", "HDF5",
    ],
)  # fmt: skip
def test_what_is_not_unpacked_here_is_refused_with_the_way_out(tmp_path, data, problem):
    with pytest.raises(FormatError, match=f"counts.dat {problem}"):
        load(tmp_path / "counts.dat", data)


def test_without_pyarrow_zstandard_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        FormatError, match=f"needs pyarrow: {re.escape(pip_install('parquet'))}; or unp"
    ):
        load(tmp_path / "a.csv.zst", as_zstandard(TEXT.encode()))


@pytest.mark.parametrize(
    ("written", "encoding"),
    [
        ("latin-1", "latin-1"),
        ("cp1252", "windows-1252"),
        ("utf-16", ""),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-32", ""),
        ("utf-8-sig", "utf-8"),
        ("utf-8", ""),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_texts_in_other_encodings_are_read(tmp_path, written, encoding, pack):
    loaded = load(tmp_path / "a.csv", pack(TEXT.encode(written)), encoding=encoding)
    assert loaded.column_names.tolist() == ["folk", "jäzz"]
    np.testing.assert_array_equal(loaded.counts.toarray(), [[0, 1], [2, 0]])


HINT = "--config.data.encoding=latin-1"


@pytest.mark.parametrize(
    ("written", "encoding", "problem"),
    [
        ("latin-1", "", f", line 2: expected UTF-8 text: invalid .*; {HINT}"),
        ("utf-16-le", "", f", line 1: expected UTF-8 text, but there is a null byte; {HINT}"),
        ("latin-1", "ascii", f", line 2: expected text in ascii: ordinal not in .*; {HINT}"),
        ("utf-8", "utf-16", f", line 1: expected text in utf-16: .* BOM; {HINT}"),
        ("utf-16", "latin-1", " begins with the mark of utf-16, but .*encoding is 'latin-1'"),
    ],
)
def test_a_wrong_encoding_is_named_with_the_flag(tmp_path, written, encoding, problem):
    with pytest.raises(FormatError, match=f"a.csv{problem}"):
        load(tmp_path / "a.csv", TEXT.encode(written), encoding=encoding)


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13"])
def test_an_encoding_that_is_none_is_refused(encoding):
    with pytest.raises(ValueError, match=f"encoding is '{encoding}', which is none; for example"):
        SparseCounts(path="a", encoding=encoding).validate()


def test_lines_of_many_blocks_are_recoded_and_counted(tmp_path):
    lines = [f"löng €{number}" for number in range(50_000)]
    (tmp_path / "a").write_text("\n".join(lines), encoding="utf-16")
    assert [line for _, line in numbered_lines(tmp_path / "a")] == lines
    (tmp_path / "b").write_text("€" * 300_000, encoding="cp1252")  # a byte that becomes three
    assert list(numbered_lines(tmp_path / "b", "cp1252")) == [(1, "€" * 300_000)]
    (tmp_path / "a").write_bytes("\n".join(lines).encode("utf-16")[:-1])
    with pytest.raises(FormatError, match="a, line 50000: expected text in utf-16: truncated data"):
        list(numbered_lines(tmp_path / "a"))


def test_long_pieces_of_a_file_are_cut_where_they_are_quoted():
    assert shown("é" * 40) == f"'{'é' * 40}'"
    assert shown("é" * 41) == f"'{'é' * 40}…'"
