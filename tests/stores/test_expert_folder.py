"""The folders of the experts, without a model: tests/model/test_files.py has one."""

import errno
import os
import shutil

import pytest

from sleepmem.errors import ExpertError, FolderError
from sleepmem.stores.expert_folder import ExpertFolders, check_expert, write_expert

FIRST, SECOND = "night-0001-0a1b2c3d", "night-0002-0a1b2c3d"


@pytest.fixture
def folders(tmp_path):
    return ExpertFolders(tmp_path)


def save(folder):
    """What a model would write."""
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"12345678")
    (folder / "settings").write_text("{}")


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def make(parent, *folders):
    """Folders with a file each."""
    for name in folders:
        (parent / name).mkdir(parents=True)
        (parent / name / "weights").write_text("1")


class Holder:
    """Stands for a model that holds experts."""

    def __init__(self, *experts):
        self.experts = experts
        self.loaded = []

    def load_expert(self, name, folder):
        self.loaded.append((name, folder))


# Whole or not at all


def test_every_file_is_synced_through_a_handle_that_writes(tmp_path, monkeypatch):
    """Windows refuses to sync a handle that only reads; asked where a handle tells its mode."""
    fcntl = pytest.importorskip("fcntl")
    sync, synced = os.fsync, []

    def watched(handle):
        assert fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        synced.append(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_expert(tmp_path / "e", save)
    assert names(tmp_path / "e") == ["settings", "sha256.json", "weights"]
    assert sorted(synced) == sorted(file.stat().st_ino for file in (tmp_path / "e").iterdir())


def test_nothing_is_renamed_before_it_is_synced(tmp_path, monkeypatch):
    def broken(handle):
        assert not (tmp_path / "e").exists()
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(FolderError, match="Input/output error"):
        write_expert(tmp_path / "e", save)
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_written_anew(tmp_path, folders):
    make(tmp_path / "pending", FIRST, f".{FIRST}.tmp")
    folders.write(FIRST, save)
    assert names(tmp_path / "pending") == [FIRST]
    check_expert(tmp_path / "pending" / FIRST)


# Pending and promoted


def test_an_expert_is_pending_until_it_is_promoted(tmp_path, folders):
    folders.write(FIRST, save)
    assert folders.at(FIRST) == tmp_path / "pending" / FIRST
    with pytest.raises(ExpertError, match="missing"):
        folders.check(FIRST)

    folders.promote(FIRST)
    folders.promote(FIRST)  # done already: nothing to do
    assert folders.at(FIRST) == tmp_path / "experts" / FIRST
    folders.check(FIRST)
    assert names(tmp_path / "pending") == []
    checksums = (tmp_path / "experts" / FIRST / "sha256.json").stat().st_size
    assert folders.size(FIRST) == 8 + 2 + checksums


def test_only_what_is_not_in_memory_is_checked_and_loaded(tmp_path, folders):
    folders.write(FIRST, save)
    model = Holder(SECOND)
    folders.load(model, [SECOND, FIRST])
    assert model.loaded == [(FIRST, tmp_path / "pending" / FIRST)]

    (tmp_path / "pending" / FIRST / "weights").write_text("?")
    model = Holder()
    with pytest.raises(ExpertError, match="damaged"):
        folders.load(model, [FIRST])
    assert model.loaded == []


# Whose files they are


def test_the_files_of_another_expert_are_refused(tmp_path, folders):
    for name in (FIRST, SECOND):
        folders.write(name, lambda folder, name=name: save(folder) or (folder / name).touch())
        folders.promote(name)
    shutil.rmtree(tmp_path / "experts" / FIRST)
    shutil.copytree(tmp_path / "experts" / SECOND, tmp_path / "experts" / FIRST)
    for ask in (folders.check, folders.checked, lambda name: folders.load(Holder(), [name])):
        with pytest.raises(ExpertError, match="another expert's files"):
            ask(FIRST)
    folders.check(SECOND)


def test_what_lies_beside_the_files_of_an_expert_is_no_part_of_it(tmp_path, folders):
    folders.write(FIRST, save)
    folders.promote(FIRST)
    folder = tmp_path / "experts" / FIRST
    (folder / ".DS_Store").write_bytes(b"Bud1")
    (folder / "thumbs").mkdir()
    folders.check(FIRST)
    (folder / "weights").write_bytes(b"1234567x")
    with pytest.raises(ExpertError, match="damaged"):
        folders.check(FIRST)
    (folder / "weights").unlink()
    with pytest.raises(ExpertError, match="damaged"):
        folders.check(FIRST)


@pytest.mark.parametrize("written", ["{}", "[]", "5", '{"../x": "1"}', '{"settings": "1"}'])
def test_checksums_that_name_other_files_are_refused(tmp_path, folders, written):
    folders.write(FIRST, save)
    folders.promote(FIRST)
    (tmp_path / "experts" / FIRST / "sha256.json").write_text(written)
    with pytest.raises(ExpertError):
        folders.check(FIRST)


def test_what_nobody_wrote_here_is_no_expert(tmp_path, folders):
    write_expert(tmp_path / "experts" / FIRST, save)
    with pytest.raises(ExpertError, match="another expert's files"):
        folders.check(FIRST)
    folders.seal_old([SECOND, FIRST, ".."])  # from before; the others are missing
    folders.check(FIRST)


@pytest.mark.parametrize("name", ["", ".", "..", "../outside", "/outside", "a/b", "..\\outside"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    folders = ExpertFolders(tmp_path / "m")
    make(tmp_path, "outside")
    for ask in (
        folders.at,
        folders.check,
        folders.promote,
        folders.size,
        lambda name: folders.write(name, save),
    ):
        with pytest.raises(ExpertError, match="no name of an expert"):
            ask(name)
    assert names(tmp_path) == ["outside"]
    assert names(tmp_path / "outside") == ["weights"]


# Clearing up


def test_only_what_is_pending_of_that_night_is_cleared(tmp_path, folders):
    others = ["night-0001", "night-00010-0a1b2c3d", "night-001-0a1b2c3d", "notes", SECOND]
    make(tmp_path / "pending", FIRST, "night-0001-ffffffff", f".{FIRST}.tmp", *others)
    make(tmp_path / "experts", FIRST)
    folders.clear_pending("night-0001")
    assert names(tmp_path / "pending") == sorted(others)
    assert names(tmp_path / "experts") == [FIRST]


def test_without_folders_there_is_nothing_to_clear(tmp_path, folders):
    folders.clear_pending("night-0001")
    assert folders.sweep(set(), {"night-0001"}) == []
    assert names(tmp_path) == []


@pytest.mark.parametrize("parent", ["pending", "experts"])
def test_swept_is_what_was_half_written_or_never_promoted(tmp_path, folders, parent):
    promoted, rejected, unfinished = FIRST, "night-0001-ffffffff", SECOND
    half_written, being_written = f".{rejected}.tmp", f".{SECOND}.tmp"
    make(tmp_path / parent, promoted, rejected, unfinished, half_written, being_written)
    removed = folders.sweep({promoted}, {"night-0001"})
    assert sorted(removed) == sorted([half_written, rejected])
    # Another process may be in the middle of the night that has not finished.
    assert names(tmp_path / parent) == sorted([promoted, unfinished, being_written])
    assert folders.sweep({promoted, SECOND}, {"night-0001", "night-0002"}) == [being_written]


@pytest.mark.parametrize("parent", ["pending", "experts"])
def test_a_folder_that_is_no_experts_is_left_alone(tmp_path, folders, parent):
    strange = ["backup", "night-0001", "night-0001-", f"{FIRST}-backup", f"{FIRST}.tmp-old-1"]
    strange += [".git", ".snapshots", ".None.tmp", ".notes.tmp", f".{SECOND}"]
    make(tmp_path / parent, *strange)
    assert folders.sweep(set(), {"night-0001"}) == []
    assert names(tmp_path / parent) == sorted(strange)
