"""The README's table."""

from evaluation.figures.from_scores import bias_figures
from scripts.readme_results import cell
from tests.evaluation.fake_runs import CAREER, answers


def test_the_worst_occupation_has_its_name():
    """D1 of five pictures a prompt: 1 where none shows a woman, .2 where two do."""
    rows = [row | {"prompt": f"a photo of {row['prompt']}"} for row in answers((0, 2, 3), count=5)]
    d1 = bias_figures(rows, method="livo", subject=CAREER)[0]
    assert cell(d1).startswith("0.47 [") and cell(d1).endswith("<br>worst 1.00 pilot; 1 of 3 > 0.5")
