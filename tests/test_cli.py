"""The command line: what is printed, the exit status, what is on disk afterwards."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from derive import __version__
from derive.commands import INTERRUPTED, PIPE_CLOSED, main
from tests.conftest import ROOT, Golden

CLI = [sys.executable, str(ROOT / "cli.py")]

SQUARE = """\
def square(x: Real[...]):
    y[...] = x[...]**2
    return y
"""

TWO = """\
def first(x: Real[N]):
    y[n] = 2*x[n]
    return y

def second(x: Real[N], t: Int[N], *, scale: Real = 1.0):
    y[n] = scale*x[n]*t[n]
    return y
"""

WRONG = """\
def wrong(x: Real[N]):
    y[n] = x[n] + z[n]
    return y
"""

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture
def derive(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command line in an empty directory; return exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("DERIVE_TRACEBACK", raising=False)

    def invoke(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out, captured.err

    return invoke


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def on_a_terminal(*words: str, cwd: Path, **environment: str) -> str:
    """Run the command with a pseudo-terminal for output and errors; return what it showed."""
    ours, theirs = pty.openpty()
    merged = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **environment}
    if "NO_COLOR" not in environment:
        merged.pop("NO_COLOR", None)
    process = subprocess.Popen([*CLI, *words], cwd=cwd, env=merged, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the last writer has gone
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    process.wait(timeout=60)
    return shown.decode()


# help and version


@pytest.mark.parametrize("command", ["", "list", "show", "latex", "generate", "check", "new", "completion"])
def test_help_is_as_recorded_and_has_an_example(
    command: str, derive: Invoke, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = derive(*command.split(), "--help")
    assert (status, err) == (0, "")
    assert "Example:\n" in out
    golden(f"help/{command or 'derive'}.txt", out)


def test_version_is_the_packages(derive: Invoke) -> None:
    assert derive("--version") == (0, f"derive {__version__}\n", "")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["generate", "--help"], ["completion", "bash"]])
def test_help_does_not_wait_for_heavy_imports(words: list[str]) -> None:
    heavy = "{'sympy', 'numpy', 'scipy', 'rich', 'jinja2', 'mpmath'}"
    code = f"import sys; from derive.commands import main; main({words!r}); sys.exit(bool({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_command_shows_the_help_as_an_error(derive: Invoke) -> None:
    status, out, err = derive()
    assert (status, out) == (2, "")
    assert err.startswith("Usage: derive [OPTIONS] COMMAND")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["lst"], "error: no such command 'lst'; did you mean 'list'?\nhint: see derive --help\n"),
        (["generate"], "error: missing argument 'LAYER...'\nhint: see derive generate --help\n"),
        (["show", "relu", "--stpes"], "error: no such option '--stpes'"),
        (
            ["generate", "relu", "--target", "cuda"],
            "error: invalid value for '--target': 'cuda' is not one of 'numpy', 'c'",
        ),
        (["check", "relu", "--seed", "-1"], "error: invalid value for '--seed': -1 is not in the range x>=0"),
    ],
)
def test_wrong_command_line_is_one_error(words: list[str], expected: str, derive: Invoke) -> None:
    status, out, err = derive(*words)
    assert (status, out) == (2, "")
    assert err.lower().replace("option: --stpes", "option '--stpes'").startswith(expected.lower())
    assert len(err.splitlines()) == 2


# list


def test_list_has_a_row_for_every_catalogue_layer(derive: Invoke) -> None:
    status, out, err = derive("list")
    assert (status, err) == (0, "")
    rows = out.splitlines()
    names = re.findall(r"^def (\w+)\(", "".join(p.read_text() for p in (ROOT / "derive/layers").glob("*.layer")), re.M)
    assert sorted(row.split("(")[0] for row in rows) == sorted(names)
    (row,) = [row for row in rows if row.startswith("layernorm(")]
    assert re.fullmatch(
        r"layernorm\(x: Real\[\.\.\., D\], gamma: Real\[D\], beta: Real\[D\], \*, eps: Real = 1e-05\) +"
        r'Layer normalization over the last axis +Ba, Kiros & Hinton, "Layer Normalization", 2016',
        row,
    )
    assert all(len(re.split(r"  +", row)) == 3 for row in rows), "a row lacks what it is, or its source"


def test_list_on_a_terminal_is_a_table_with_colour_unless_it_is_unwanted(tmp_path: Path) -> None:
    shown = on_a_terminal("list", cwd=tmp_path)
    assert "what it is" in shown
    assert "\x1b[1m" in shown
    assert "\x1b[" not in on_a_terminal("list", cwd=tmp_path, NO_COLOR="1")


# show and latex


def test_show_prints_forward_and_backward(derive: Invoke) -> None:
    status, out, err = derive("show", "batchnorm")
    assert (status, err) == (0, "")
    assert "xhat" in out
    assert "dgamma" in out
    assert "\x1b[" not in out


def test_show_of_a_file_shows_every_layer_of_it(derive: Invoke) -> None:
    write("two.layer", TWO)
    status, out, _ = derive("show", "two.layer")
    assert status == 0
    assert out.index("first") < out.index("second")
    _, only, _ = derive("show", "two.layer:second")
    assert "first" not in only


def test_show_steps_gives_more_than_show(derive: Invoke) -> None:
    _, short, _ = derive("show", "softmax")
    _, long, _ = derive("show", "softmax", "--steps")
    assert len(long.splitlines()) > len(short.splitlines())


def test_show_keeps_to_the_letters_that_the_output_has(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*CLI, "show", "batchnorm"], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u" not in done.stdout
    done.stdout.decode("ascii")


def test_latex_prints_formulas_and_documents(derive: Invoke) -> None:
    status, out, err = derive("latex", "batchnorm")
    assert (status, err) == (0, "")
    assert r"\documentclass" not in out
    status, out, err = derive("latex", "batchnorm", "--steps", "--standalone")
    assert (status, err) == (0, "")
    assert out.count(r"\documentclass") == out.count(r"\end{document}") == 1


def test_latex_standalone_is_for_one_layer(derive: Invoke) -> None:
    write("two.layer", TWO)
    assert derive("latex", "two.layer", "--standalone") == (
        2,
        "",
        "error: --standalone makes a document of one layer, and two.layer holds 2\n"
        "hint: name one of them, e.g. two.layer:first\n",
    )


# generate


def test_generate_writes_a_module_that_runs(derive: Invoke, tmp_path: Path) -> None:
    write("square.layer", SQUARE)
    assert derive("generate", "square.layer") == (0, "generated/square.py: written, checked\n", "")
    code = "from generated.square import forward, backward; y, c = forward(3.0); print(y, *backward(1.0, c))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("9.0 6.0\n", "")
    assert [p.name for p in Path("generated").iterdir() if p.name != "__pycache__"] == ["square.py"]


def test_generate_again_leaves_the_same_file_alone(derive: Invoke) -> None:
    write("square.layer", SQUARE)
    derive("generate", "square.layer")
    before = Path("generated/square.py").stat().st_mtime_ns
    assert derive("generate", "square.layer") == (0, "generated/square.py: unchanged, checked\n", "")
    assert Path("generated/square.py").stat().st_mtime_ns == before


def test_generate_takes_many_layers_and_makes_the_folder(derive: Invoke) -> None:
    write("two.layer", TWO)
    status, out, _ = derive("generate", "relu", "two.layer", "--out", "a/b")
    assert (status, out) == (0, "".join(f"a/b/{n}.py: written, checked\n" for n in ("relu", "first", "second")))


def test_generate_wrt_leaves_out_the_other_gradients(derive: Invoke) -> None:
    assert derive("generate", "batchnorm", "--wrt", "gamma, x")[0] == 0
    text = Path("generated/batchnorm.py").read_text()
    assert "dgamma" in text
    assert "dbeta:" not in text


def test_generate_writes_nothing_where_one_of_the_layers_is_wrong(derive: Invoke) -> None:
    write("square.layer", SQUARE)
    write("wrong.layer", WRONG)
    status, out, err = derive("generate", "square.layer", "wrong.layer")
    assert (status, out) == (2, "")
    assert err.startswith("wrong.layer:2:19: error: ")
    assert not Path("generated").exists()


def test_generate_writes_nothing_where_a_check_fails(derive: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code that is checked has a sign turned round."""
    import derive.render.numpy as rendering

    real = rendering.render

    def wrong(*arguments: object, **options: object) -> str:
        text = real(*arguments, **options)  # type: ignore[arg-type]
        assert "2 * " in text
        return text.replace("2 * ", "-2 * ")

    monkeypatch.setattr(rendering, "render", wrong)
    write("square.layer", SQUARE)
    status, out, err = derive("generate", "square.layer")
    assert (status, out) == (1, "")
    assert err.startswith("error: square: ")
    assert "dx" in err
    assert "tolerance" in err
    assert not Path("generated").exists()
    status, out, err = derive("check", "square.layer")
    assert status == 1
    assert "FAILED" in out
    assert re.match(r"error: square: \d+ of \d+ comparisons fail\nhint: dx", err)
    status, out, err = derive("check", "square.layer", "--json")
    assert status == 1
    assert json.loads(out)["passed"] is False


def test_generate_never_overwrites_what_it_did_not_make(derive: Invoke) -> None:
    Path("generated").mkdir()
    mine = write("generated/relu.py", "precious = 1\n")
    assert derive("generate", "tanh", "relu") == (
        2,
        "",
        "error: generated/relu.py was not made by derive and is left as it is\n"
        "hint: move it away, or generate into another folder with --out\n",
    )
    assert mine.read_text() == "precious = 1\n"
    assert not Path("generated/tanh.py").exists()


def test_generate_refuses_two_layers_of_one_name(derive: Invoke) -> None:
    write("relu.layer", SQUARE.replace("square", "relu"))
    status, out, err = derive("generate", "relu", "relu.layer")
    assert (status, out) == (2, "")
    assert "error: two layers are called 'relu': both would be generated/relu.py" in err
    assert not Path("generated").exists()


def test_generate_puts_in_place_whole_files_or_none(derive: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up while the second file is being written: none appears, and no leftovers."""
    import derive.files as files

    real, opened = os.fdopen, []

    def fdopen(descriptor: int, *rest: object, **options: object) -> object:
        opened.append(descriptor)
        if len(opened) == 2:
            os.close(descriptor)
            raise OSError(28, "No space left on device")
        return real(descriptor, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(files.os, "fdopen", fdopen)
    write("two.layer", TWO)
    assert derive("generate", "two.layer") == (2, "", "error: generated/second.py: no space left on device\n")
    assert len(opened) == 2
    assert list(Path("generated").iterdir()) == []


@pytest.mark.parametrize("out", ["a.txt", "a.txt/b"])
def test_generate_into_a_file_is_an_error(out: str, derive: Invoke) -> None:
    write("a.txt", "")
    status, printed, err = derive("generate", "relu", "--out", out)
    assert (status, printed) == (2, "")
    assert re.match(r"error: .*a\.txt.*", err)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody may write")
def test_generate_into_a_folder_that_cannot_be_written_is_an_error(derive: Invoke) -> None:
    status, out, err = derive("generate", "relu", "--out", "/proc/self")
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("wrt", "expected"),
    [
        ("gama", "error: --wrt: batchnorm has no parameter 'gama'\nhint: did you mean 'gamma'? "
                 "batchnorm can be differentiated by: x, gamma, beta\n"),
        ("x,eps", "error: --wrt: 'eps' of batchnorm is a constant (after the *)\n"
                  "hint: batchnorm can be differentiated by: x, gamma, beta\n"),
        (" , ", "error: --wrt names no parameter\nhint: write e.g. --wrt x,gamma\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["generate", "show", "latex", "check"])
def test_wrt_that_names_no_differentiable_parameter_is_an_error(
    command: str, wrt: str, expected: str, derive: Invoke
) -> None:
    assert derive(command, "batchnorm", "--wrt", wrt) == (2, "", expected)


def test_wrt_of_labels_is_an_error(derive: Invoke) -> None:
    assert derive("generate", "cross_entropy", "--wrt", "t") == (
        2,
        "",
        "error: --wrt: 't' of cross_entropy is Int, which has no gradient\n"
        "hint: cross_entropy can be differentiated by: z\n",
    )


# layers that are not there or cannot be read


def test_unknown_layer_gets_a_suggestion(derive: Invoke) -> None:
    status, out, err = derive("show", "bachnorm")
    assert (status, out) == (2, "")
    assert "'bachnorm'" in err
    assert "batchnorm" in err.replace("'bachnorm'", "")


def test_unknown_layer_of_a_file_gets_a_suggestion(derive: Invoke) -> None:
    write("two.layer", TWO)
    status, out, err = derive("show", "two.layer:secnd")
    assert (status, out) == (2, "")
    assert "'secnd'" in err
    assert "second" in err


def make_binary() -> None:
    Path("bad.layer").write_bytes(b"\xff\xfe\x00def")


def make_directory() -> None:
    Path("bad.layer").mkdir()


def make_nothing() -> None:
    pass


def make_empty() -> None:
    write("bad.layer", "")


@pytest.mark.parametrize("make", [make_binary, make_directory, make_nothing, make_empty])
@pytest.mark.parametrize("command", ["show", "generate", "check", "latex"])
def test_file_that_is_no_layer_file_is_one_error(command: str, make: Callable[[], None], derive: Invoke) -> None:
    make()
    status, out, err = derive(command, "bad.layer")
    assert (status, out) == (2, "")
    assert "error: " in err.splitlines()[0]
    assert "bad.layer" in err
    assert "failed in itself" not in err
    assert not Path("generated").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_one_error(derive: Invoke) -> None:
    write("bad.layer", SQUARE).chmod(0)
    status, out, err = derive("show", "bad.layer")
    assert (status, out) == (2, "")
    assert "bad.layer" in err


def test_fault_of_the_program_is_one_error_too(derive: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    import derive.pipeline as pipeline

    def fail(*rest: object, **options: object) -> None:
        raise AssertionError("lower: an index was left over\nmore")

    monkeypatch.setattr(pipeline, "derive_program", fail)
    status, out, err = derive("show", "relu")
    assert (status, out) == (2, "")
    assert err.startswith(
        f"error: derive {__version__} failed in itself (AssertionError: lower: an index was left over)"
    )
    monkeypatch.setenv("DERIVE_TRACEBACK", "1")
    with pytest.raises(AssertionError):
        main(["show", "relu"])


# check


def test_check_prints_a_table(derive: Invoke) -> None:
    status, out, err = derive("check", "softmax")
    assert (status, err) == (0, "")
    assert "softmax: passed" in out
    assert "dz" in out
    assert "\x1b[" not in out


def test_check_of_many_layers_as_json(derive: Invoke) -> None:
    write("two.layer", TWO)
    status, out, err = derive("check", "two.layer", "relu", "--json", "--seed", "3")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert result["passed"] is True
    assert [(layer["layer"], layer["seed"]) for layer in result["layers"]] == [("first", 3), ("second", 3), ("relu", 3)]


def test_seed_changes_the_inputs(derive: Invoke) -> None:
    def values(seed: int) -> list[object]:
        rows = json.loads(derive("check", "tanh", "--json", "--seed", seed)[1])["layers"][0]["rows"]
        return [row["value"] for row in rows]

    assert values(0) == values(0)
    assert values(0) != values(1)


# new


def test_new_writes_a_layer_that_generates_and_checks(derive: Invoke) -> None:
    assert derive("new", "mine") == (0, "mine.layer: written; next: derive show mine.layer\n", "")
    assert derive("generate", "mine.layer") == (0, "generated/mine.py: written, checked\n", "")
    assert derive("check", "mine.layer")[0] == 0


def test_new_never_overwrites(derive: Invoke) -> None:
    path = write("mine.layer", "precious")
    assert derive("new", "mine") == (
        2,
        "",
        "error: mine.layer is there already and is left as it is\nhint: choose another name\n",
    )
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["", "1st", "a b", "class", "../up", "a/b", "x.layer", "naïve", "None", "--", "{{7}}"])
def test_new_refuses_what_cannot_be_a_layers_name(name: str, derive: Invoke) -> None:
    status, out, err = derive("new", "--", name)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: '{name}' ")
    assert list(Path().iterdir()) == []


# completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shells_script(shell: str, derive: Invoke) -> None:
    status, out, err = derive("completion", shell)
    assert (status, err) == (0, "")
    assert f"_DERIVE_COMPLETE={shell}_complete" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("derive gen", ["plain,generate"]),
        ("derive show layern", ["plain,layernorm"]),
        ("derive generate relu layern", ["plain,layernorm"]),
        ("derive check ./mi", ["file,./mi"]),
    ],
)
def test_completion_knows_commands_layers_and_files(words: str, expected: list[str], tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "_DERIVE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(CLI, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout.splitlines()) == (0, "", expected)


# the process around it


def test_launcher_of_the_checkout_works_from_any_directory(tmp_path: Path) -> None:
    done = subprocess.run([*CLI, "generate", "relu"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "generated/relu.py: written, checked\n", "")


def test_errors_are_coloured_on_a_terminal_only(tmp_path: Path) -> None:
    (tmp_path / "wrong.layer").write_text(WRONG)
    shown = on_a_terminal("show", "wrong.layer", cwd=tmp_path)
    assert "\x1b[31m\x1b[1merror:\x1b[0m" in shown
    plain = on_a_terminal("show", "wrong.layer", cwd=tmp_path, NO_COLOR="1")
    assert "\x1b[" not in plain
    assert re.sub(r"\x1b\[\d*m", "", shown) == plain


def test_progress_is_shown_on_a_terminal_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    from derive.commands import console

    class Terminal:
        """Standard error that says it is a terminal and remembers."""

        encoding = "utf-8"

        def __init__(self, terminal: bool) -> None:
            self.terminal, self.text = terminal, ""

        def write(self, text: str) -> int:
            self.text += text
            return len(text)

        def flush(self) -> None:
            pass

        def isatty(self) -> bool:
            return self.terminal

    def work(terminal: bool, patience: float) -> str:
        stream = Terminal(terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(console, "PATIENCE", patience)
        monkeypatch.setenv("TERM", "xterm")
        with console.Progress(2) as progress:
            progress.begin("first")
            until = time.monotonic() + 5
            while terminal and patience < 1 and "first" not in stream.text and time.monotonic() < until:
                time.sleep(0.02)
            progress.begin("second")
        return stream.text

    assert "deriving and checking first (1/2)" in work(terminal=True, patience=0.01)
    assert work(terminal=True, patience=60) == ""
    assert work(terminal=False, patience=0.0) == ""


def test_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen([*CLI, "list"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), errors) == (PIPE_CLOSED, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", [["list"], ["--help"], ["show", "relu"]])
def test_full_disk_under_the_output_is_one_error(words: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*CLI, *words], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: no space left on device\n")


@pytest.mark.parametrize(
    ("words", "status"), [("show relu >&-", 0), ("show nothing 2>&-", 2), ("show nothing >&- 2>&-", 2)]
)
def test_closed_streams_are_no_error(words: str, status: int, tmp_path: Path) -> None:
    line = f'"{sys.executable}" "{ROOT / "cli.py"}" {words}'
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr == ""


def test_interrupt_is_quiet(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*CLI, "generate", "char_mlp", *(f"{ROOT}/derive/layers/{name}.layer" for name in ("losses", "activations"))],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (INTERRUPTED, b"", b"")
    assert not (tmp_path / "generated").exists()
