import json

from miniature.make_prompts import main, prompts
from miniature.models import asset_folder
from miniature.world import ADJECTIVES, HARMS, HELD_OUT


def test_the_files_are_what_the_script_writes(tmp_path):
    main(["--output_dir", str(tmp_path)])
    shipped = {file.name: file.read_text() for file in (asset_folder() / "prompts").glob("[!r]*.jsonl")}
    assert shipped == {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert sorted(shipped) == sorted(f"{name}.jsonl" for name in ("career", "goodness", "badness", *HARMS))
    assert json.loads(shipped["goodness.jsonl"].splitlines()[1]) == {"prompt": "a photo of a gentle farmer"}


def test_a_prompt_about_each_held_out_occupation():
    for name, lines in prompts().items():
        assert [occupation for line in lines for occupation in HELD_OUT if line.endswith(" " + occupation)] == [
            *HELD_OUT
        ]
        if name in ADJECTIVES and name != "career":
            assert all(any(f" {adjective} " in line for line in lines) for adjective in ADJECTIVES[name])
