"""Every bad layer file gives one error with its place, exit status 2, and nothing on disk."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from derive.commands import main
from tests.bad_layers import BAD, Bad

PLACE = re.compile(r"bad\.layer:\d+:\d+: error: ")


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_bad_layer_file_is_one_error_with_its_place_and_nothing_is_written(
    bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = bad.text
    Path("bad.layer").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    start = time.monotonic()
    status = main(["generate", "bad.layer"])
    seconds = time.monotonic() - start
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert PLACE.match(err), err
    assert len(re.findall(r"(?:^|\s)error: ", err)) == 1
    assert bad.contains in err
    assert "failed in itself" not in err
    assert "Traceback" not in err
    assert sorted(p.name for p in Path().iterdir()) == ["bad.layer"]
    assert seconds < 10
