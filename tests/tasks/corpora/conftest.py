"""Tiny trees shaped like the Debian packages."""

from pathlib import Path

import pytest
from PIL import Image

from tasks.corpora import debian

SVG = """<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><rdf:RDF><cc:Work rdf:about="">
<dc:title>{title}</dc:title><dc:description/>
<dc:subject><rdf:Bag><rdf:li>bird</rdf:li><rdf:li></rdf:li><rdf:li>hash(0x86a3d2c)</rdf:li></rdf:Bag></dc:subject>
<dc:creator><cc:Agent><dc:title>A. Painter</dc:title></cc:Agent></dc:creator>
<dc:language>{language}</dc:language>
<cc:license rdf:resource="{licence}"/>
</cc:Work></rdf:RDF></metadata></svg>
"""


def svg(title: str, language: str = "en", licence: str = "http://web.resource.org/cc/PublicDomain") -> bytes:
    return SVG.format(title=title, language=language, licence=licence).encode()


@pytest.fixture
def openclipart(tmp_path: Path) -> Path:
    """Two drawings; the crow is also linked as animals/corvids/krow, with an SVG that says something else."""
    tree = tmp_path / "copy" / "usr" / "share" / "openclipart"
    for name, colour in (("animals/crow", "black"), ("tools/saw", "grey")):
        for kind in ("png", "svg"):
            (tree / kind / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (8, 8), colour).save(tree / "png" / f"{name}.png")
    (tree / "svg/animals/crow.svg").write_bytes(svg("Crow &amp; co"))
    (tree / "svg/tools/saw.svg").write_bytes(
        svg("scie", "FR", "http://creativecommons.org/licenses/GPL/2.0/")
    )
    for kind in ("png", "svg"):
        (tree / kind / "animals/corvids").mkdir()
    (tree / "png/animals/corvids/krow.png").symlink_to("../crow.png")
    (tree / "svg/animals/corvids/krow.svg").write_bytes(svg("clip art 12"))
    return tree


@pytest.fixture
def stamps_tree(tmp_path: Path) -> Path:
    """A crow with sounds, a picture without a caption, and a caption without a picture."""
    tree = tmp_path / "copy" / "usr" / "share" / "tuxpaint" / "stamps"
    birds = tree / "animals" / "birds"
    birds.mkdir(parents=True)
    Image.new("RGBA", (8, 8), "black").save(birds / "crow.png")
    (birds / "crow.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    Image.new("RGBA", (8, 8), "black").save(birds / "crow_mirror.png")
    (birds / "crow.txt").write_text(
        "A crow. 6x7=42\nca.utf8=Un corb. \n"
        "ca@valencia.utf8=Un corb.\nzh_TW.utf8=烏鴉。\nfr.utf8=\nno caption\n",
        encoding="utf-8",
    )
    (tree / "gift.txt").write_text("A gift.\n", encoding="utf-8")
    for name in (
        "crow.ogg",
        "crow_desc_ca.ogg",
        "crow_zh_tw.ogg",
        "crow_desc_lt.ogg",
        "crow_desc_ca.ogg.ogg",
    ):
        (birds / name).write_bytes(b"OggS" + name.encode())
    (birds / "magpie_desc_fr.ogg").write_bytes(b"OggS")
    return tree


@pytest.fixture
def small_tree() -> debian.DebianTree:
    """A tree that is whole with one file."""
    return debian.DebianTree(("tiny-clips",), "usr/share/tiny", "XMODAL_TINY", (("**/*.txt", 1),))


@pytest.fixture
def reports() -> list[str]:
    """Lines of progress, as they come."""
    return []


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of the machine that runs the tests out of them."""
    for name in ("XMODAL_OPENCLIPART", "XMODAL_STAMPS", "XMODAL_TINY", "XMODAL_CACHE"):
        monkeypatch.delenv(name, raising=False)
