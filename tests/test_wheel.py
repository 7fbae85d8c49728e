"""The wheel: what it holds, and that it works from an empty directory."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; the libraries are borrowed from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    installed = run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=folder,
    )
    assert installed.returncode == 0, installed.stderr
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    libraries = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    Path(purelib, "libraries.pth").write_text("\n".join(libraries) + "\n", encoding="utf-8")
    return folder


def command(environment: Path) -> Path:
    return environment / ("Scripts/derive.exe" if os.name == "nt" else "bin/derive")


def test_wheel_adds_one_import_package(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"derive"}


def test_wheel_holds_the_catalogue_the_templates_and_the_type_marker(names: list[str]) -> None:
    for source, inside in (("derive/layers", "derive/layers"), ("templates", "derive/templates")):
        files = [p.relative_to(ROOT / source) for p in (ROOT / source).rglob("*") if p.is_file()]
        assert files
        missing = [f.as_posix() for f in files if f"{inside}/{f.as_posix()}" not in names]
        assert not missing
    assert "derive/py.typed" in names


def test_wheel_holds_nothing_that_is_not_source(names: list[str]) -> None:
    endings = {Path(name).suffix for name in names if name.startswith("derive/")}
    assert endings <= {".py", ".layer", ".jinja", ".c", ".typed"}


def test_installed_command_works_from_an_empty_directory(elsewhere: Path, tmp_path: Path) -> None:
    listed = run(command(elsewhere), "list", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.count("\n") >= 60
    generated = run(command(elsewhere), "generate", "batchnorm", cwd=tmp_path)
    assert (generated.returncode, generated.stderr) == (0, "")
    text = (tmp_path / "generated" / "batchnorm.py").read_text(encoding="utf-8")
    assert text == (ROOT / "generated" / "batchnorm.py").read_text(encoding="utf-8")
    compiled = run(command(elsewhere), "generate", "relu", "--target", "c", cwd=tmp_path)
    assert (compiled.returncode, compiled.stderr) == (0, "")
    where = run(elsewhere / "bin" / "python", "-c", "import derive; print(derive.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(elsewhere), "the checkout was used, not the wheel"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["generated"]


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=]", requirement)[0] for requirement in project["dependencies"]}
    imported = set()
    for path in (ROOT / "derive").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.split(".")[0])
    imported.add("scipy")  # by generated modules, which are run to be checked
    extras = project["optional-dependencies"]
    optional = {re.split(r"[<>=]", r)[0] for r in (*extras["bench"], *extras["plot"])}
    assert imported - set(sys.stdlib_module_names) - {"derive"} - optional == declared


def test_what_is_optional_is_imported_where_it_is_used() -> None:
    """Not at the top of a module: the program works without it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    optional = {re.split(r"[<>=]", r)[0] for r in (*extras["bench"], *extras["plot"])}
    for path in (ROOT / "derive").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.append(node.module)
            assert not {name.split(".")[0] for name in names} & optional, path
