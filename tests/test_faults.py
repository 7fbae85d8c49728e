"""Disks, folders and processes that fail: a file is what it was, or it is the new one, whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from derive import files, pipeline
from derive.commands import INTERRUPTED, TERMINATED, main
from tests.conftest import ROOT

OLD = f'"""{files.MADE_BY} before."""\n' + "# a line of the file that was there\n" * 2000
NEW = f'"""{files.MADE_BY} now."""\n' + "# a line of the file that replaces it\n" * 200000

WRITER = """
import sys
from pathlib import Path
from derive.files import put_in_place
paths = [Path(p) for p in sys.argv[2:]]
print("ready", flush=True)
while True:
    put_in_place({path: sys.argv[1] * 200000 for path in paths})
"""


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that replaces files for ever by a text repeated; it is killed after the test."""
    running: list[subprocess.Popen[str]] = []

    def started(piece: str, *paths: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, piece, *map(str, paths)], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield started
    for process in running:
        process.kill()
        process.communicate()


def test_readers_of_a_file_that_two_processes_replace_see_one_of_theirs(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    path = tmp_path / "module.py"
    path.write_text(OLD, encoding="utf-8")
    whole = {OLD, "# one\n" * 200000, "# two\n" * 200000}
    writers = [start(piece, path) for piece in ("# one\n", "# two\n")]
    seen = set()
    end = time.monotonic() + 10
    while len(seen & (whole - {OLD})) < 2 and time.monotonic() < end:
        text = path.read_text(encoding="utf-8")
        assert text in whole
        seen.add(text)
    assert all(writer.poll() is None for writer in writers)
    assert seen >= whole - {OLD}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_a_process_that_dies_while_it_writes_leaves_whole_files(
    how: signal.Signals, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        paths = [folder / "one.py", folder / "two.py"]
        for path in paths:
            path.write_text(OLD, encoding="utf-8")
        writer = start("# new\n", *paths)
        time.sleep(0.003 * attempt)
        writer.send_signal(how)
        writer.communicate(timeout=60)
        for path in paths:
            assert path.read_text(encoding="utf-8") in {OLD, "# new\n" * 200000}
        if how is signal.SIGINT:
            assert leftovers(folder) == []


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
def test_a_command_that_is_stopped_is_quiet_and_leaves_the_old_file(
    how: signal.Signals, status: int, tmp_path: Path
) -> None:
    path = tmp_path / "generated" / "relu.py"
    path.parent.mkdir()
    path.write_text(OLD, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), "generate", "relu", "char_mlp"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(0.7)
    process.send_signal(how)
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == status
    assert path.read_text(encoding="utf-8") == OLD
    assert leftovers(path.parent) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on a process")
def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "generated" / "relu.py"
    path.parent.mkdir()
    path.write_text(OLD, encoding="utf-8")
    limited = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))\n"
        "sys.dont_write_bytecode = True\n"
        "from derive.commands import main\n"
        "sys.exit(main(['generate', 'relu']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", limited], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: generated/relu.py: file too large\n")
    assert path.read_text(encoding="utf-8") == OLD
    assert leftovers(path.parent) == []


def test_a_folder_that_vanishes_between_writing_and_renaming_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    real = files.os.fsync

    def vanish(descriptor: int) -> None:
        real(descriptor)
        shutil.rmtree(folder)

    monkeypatch.setattr(files.os, "fsync", vanish)
    with pytest.raises(FileNotFoundError) as caught:
        files.put_in_place({folder / "relu.py": NEW})
    assert caught.value.filename == str(folder / "relu.py")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_vanishes_while_a_module_is_checked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "generated"
    folder.mkdir()
    real = pipeline.build

    def build(*arguments: object, **options: object) -> object:
        built = real(*arguments, **options)  # type: ignore[arg-type]
        folder.rmdir()
        return built

    monkeypatch.setattr(pipeline, "build", build)
    assert main(["generate", "relu"]) == 0
    assert (folder / "relu.py").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="needs permissions")
def test_a_folder_that_may_not_be_written_is_one_error() -> None:
    """Written by the user nobody where an administrator, who may write everywhere, runs the tests."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from derive.files import put_in_place\n"
        "if os.getuid() == 0:\n"
        "    os.setgid(65534)\n"
        "    os.setuid(65534)\n"
        "try:\n"
        "    put_in_place({Path(sys.argv[1]): 'new'})\n"
        "except PermissionError as error:\n"
        "    print(error.filename)\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "relu.py"
        path.write_text(OLD, encoding="utf-8")
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr) == (f"{folder}\n", "")
        assert path.read_text(encoding="utf-8") == OLD
        folder.chmod(0o755)
