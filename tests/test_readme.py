"""The README does what it says."""

import pytest

from tests.documents import ROOT, SHELL, blocks, run

README = ROOT / "README.md"


def test_what_a_newcomer_needs_stands_before_line_thirty():
    shown = [block for block in blocks(README) if int(block.where.rpartition(":")[2]) < 30]
    command, output, python = shown[0], shown[1], shown[2]
    assert command.commands == ["make demo"]
    assert output.kind == "text" and output.code.strip()
    assert python.kind == "python" and len(python.code.strip().splitlines()) <= 10


@pytest.mark.slow
def test_every_block_of_the_readme_runs(tmp_path, prefect_server):
    done = run(README, tmp_path)
    assert (tmp_path / "lake" / "media.lance").is_dir()
    meant = {b.where for b in blocks(README) if b.is_run and b.kind in (*SHELL, "python")}
    assert len(meant) >= 3 and meant <= set(done)
