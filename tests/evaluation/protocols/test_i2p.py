import pytest

from diffusion_base.errors import UserError
from evaluation.protocols.i2p import i2p_plan, inappropriate_figures, prompt_results, read_i2p

CSV = """,prompt,categories,hard,sd_seed,sd_guidance_scale
0,"a fight, in the street","violence, harassment",0,2475,7.0
1,a quiet lake,"violence",1,,7.5

2,"two
lines",self-harm,1,12,7
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "i2p.csv"
    file.write_text(CSV, encoding="utf-8")
    return file


def test_rows(file):
    assert read_i2p(file) == [
        {"prompt": "a fight, in the street", "categories": ["violence", "harassment"], "sd_seed": 2475},
        {"prompt": "a quiet lake", "categories": ["violence"]},
        {"prompt": "two\nlines", "categories": ["self-harm"], "sd_seed": 12},
    ]


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_first_column(file):
    file.write_bytes(b"\xef\xbb\xbfprompt,categories\r\na lake,violence\r\n")
    assert read_i2p(file) == [{"prompt": "a lake", "categories": ["violence"]}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"prompt,hard\nx,1\n", "i2p.csv, line 1: the column 'categories' is missing; the columns are prompt, hard"),
        (b"text,categories\nx,1\n", "line 1: the column 'prompt' is missing"),
        (b"", "line 1: the column 'prompt' is missing; the columns are none"),
        (b"prompt,categories\n", "i2p.csv holds no prompts"),
        (b"prompt,categories\nx,hate\n  ,hate\n", "i2p.csv, line 3: the prompt cell is empty"),
        (b"prompt,categories\nx,\n", "line 2: the categories cell is empty"),
        (b"prompt,categories\nx\n", "line 2: the categories cell is empty"),
        (b'prompt,categories\nx," , "\n', "line 2: the categories cell is empty"),
        (b"prompt,categories\nx, y,hate\n", "line 2: more cells than columns"),
        (b"prompt,categories\nx,all categories\n", "line 2: 'all categories' is what the overall figure is called"),
        (b"prompt,categories,sd_seed\nx,hate,1.5\n", "line 2: the sd_seed '1.5' is no seed"),
        (b"prompt,categories,sd_seed\nx,hate,-1\n", "line 2: the sd_seed '-1' is no seed"),
        (b"prompt,categories,sd_seed\nx,hate,9999999999999999999\n", "is no seed"),
        (b"prompt,categories\nx,hate\ncaf\xe9,hate\n", "i2p.csv, line 3: not UTF-8"),
        (b"prompt,categories\nx,hate\n" + b"y" * 200_000 + b",hate\n", "line 3: not CSV"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(file, data, message):
    file.write_bytes(data)
    with pytest.raises(UserError) as error:
        read_i2p(file)
    assert str(file) in str(error.value) and message in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="nothing.csv cannot be read"):
        read_i2p(tmp_path / "nothing.csv")


ROWS = [
    {"prompt": prompt, "prompt_index": p, "seed": i, "categories": categories, "judge": judge, "version": "1"}
    | {"threshold": threshold, "score": score}
    for judge, threshold in (("strict", 0.2), ("mild", 0.5))
    for p, (prompt, categories, scores) in enumerate(
        [("a", ["violence", "hate"], [0.9, 0.1]), ("b", ["violence"], [0.3, 0.4]), ("c", ["hate"], [0.2, 0.1])]
    )
    for i, score in enumerate(scores)
]


SUBJECT = i2p_plan("i2p", [], "inappropriate", None).subject


def test_rates_by_category():
    """Above .2 are 1 of 2 of a, 2 of 2 of b, none of c (.2 itself is not): violence (½ + 1)/2, hate ½/2, all 1.5/3.
    Above .5 is 1 of 2 of a alone: violence ¼, hate ¼, all 1/6."""
    figures = inappropriate_figures(ROWS, method="base", subject=SUBJECT)
    assert {(figure.judge, figure.group): figure.value for figure in figures} == pytest.approx(
        {
            ("strict", "violence"): 0.75,
            ("strict", "hate"): 0.25,
            ("strict", "all categories"): 0.5,
            ("mild", "violence"): 0.25,
            ("mild", "hate"): 0.25,
            ("mild", "all categories"): 1 / 6,
        }
    )
    overall = figures[2]
    assert (overall.metric, overall.n, len(overall.per_unit), overall.threshold) == ("R", 6, 3, 0.2)
    assert overall.per_unit == {"a": 0.5, "b": 1.0, "c": 0.0} and 0 <= overall.low < 0.5 < overall.high <= 1
    assert figures[0].group == "hate" == figures[0].subject.part and figures[0].n == 4


def test_results_have_a_row_a_prompt():
    rows = prompt_results(ROWS[:6])
    assert rows[0] == {
        "prompt": "a",
        "categories": ["violence", "hate"],
        "inappropriate_rate": 0.5,
        "scores": [0.9, 0.1],
        "judge": "strict 1",
    }
    assert [row["inappropriate_rate"] for row in rows] == [0.5, 1.0, 0.0]
