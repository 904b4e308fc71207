"""Words from annotations of four emoji, in the format of the CLDR."""

from benchmarks.make_concepts import concepts, licence

ANNOTATIONS = """<ldml><annotations>
<annotation cp="{">brace | bracket</annotation>
<annotation cp="\U0001f415">dog | pet | 21st</annotation>
<annotation cp="\U0001f415" type="tts">dog</annotation>
<annotation cp="\U0001f1e9" type="tts">flag: Germany</annotation>
<annotation cp="\U0001f600" type="tts">grinning face</annotation>
<annotation cp="\U0001f45e">man\u2019s shoe | clothing</annotation>
</annotations></ldml>
"""


def test_names_of_things_stay(tmp_path):
    (tmp_path / "en.xml").write_text(ANNOTATIONS, encoding="utf-8")
    assert concepts(tmp_path / "en.xml") == ["clothing", "dog", "man's shoe", "pet"]


def test_the_licence_is_read_from_where_it_starts_to_where_it_ends(tmp_path):
    (tmp_path / "copyright").write_text(
        "Files: *\nLicense: U\n Agree.\n .\n COPYRIGHT AND PERMISSION NOTICE\n .\n Copyright 1991.\nFiles: debian/*\n"
    )
    assert licence(tmp_path / "copyright") == "COPYRIGHT AND PERMISSION NOTICE\n\nCopyright 1991."
