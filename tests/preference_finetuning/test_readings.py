"""What one reads of a run: ties, classes apart, and the warning."""

import torch

from preference_finetuning.readings import A_WHILE, Watch, figures
from tests.preference_finetuning.losses.given import errors


def means(found):
    return {name: value.nanmean().item() for name, value in found.items()}


def test_figures_of_pairs():
    """The first pair is in order, the second tied, the third the wrong way round: ½ on average."""
    given = errors([1.0, 2.0, 3.0, 4.0, 2.0, 1.0], [2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    found = figures(given, {"reward": given.improvement.detach()}, pairs=True, one_class=False)
    assert found["implicit_accuracy"].tolist() == [1, 0.5, 0]
    assert means(found) == {
        "implicit_accuracy": 0.5,
        "error_preferred": 2.0,
        "error_dispreferred": torch.tensor(7 / 3).item(),
        "drift_preferred": 0.0,
        "drift_dispreferred": torch.tensor(1 / 3).item(),
        "reward_preferred": 0.0,
        "reward_dispreferred": torch.tensor(-1 / 3).item(),
    }
    assert not any(value.requires_grad for value in found.values())


def test_figures_of_labelled_pictures_ask_the_reference_point():
    """Rewards 2, 1, 1, 0 at z = 1: liked ones above and at it, disliked ones at and below it."""
    given = errors([0.0, 1.0, 1.0, 2.0], [2.0, 2.0, 2.0, 2.0])
    own = {"reward": given.improvement.detach(), "reference_point": torch.ones(4)}
    found = figures(given, own, pairs=False, one_class=False)
    assert found["implicit_accuracy"].tolist() == [1, 0.5, 0.5, 1] and found["reference_point"].tolist() == [1] * 4


def test_figures_of_one_class():
    found = figures(errors([1.0, 3.0], preferred=[True, True]), {}, pairs=False, one_class=True)
    assert means(found) == {"error_preferred": 2.0}


def entry(preferred, dispreferred):
    return {"drift_preferred": preferred, "drift_dispreferred": dispreferred}


def test_the_warning_comes_once_both_errors_have_risen_for_a_while():
    watch = Watch()
    rising = [watch.rising(entry(i, 2 * i)) for i in range(1, 2 * A_WHILE + 1)]
    assert [i for i, told in enumerate(rising, start=1) if told] == [A_WHILE, 2 * A_WHILE]


def test_no_warning_where_one_falls_or_both_stand_or_something_is_not_known():
    fine = [entry(-i, i) for i in range(3 * A_WHILE)]
    standing = [entry(1.0, 1.0)] * 3 * A_WHILE
    interrupted = [entry(i, i if i % A_WHILE else -1.0) for i in range(1, 3 * A_WHILE)]
    turned = [entry(drift, i) for i, drift in enumerate((0.0005, 0.0025, 0.0158, 0.0088, 0.0056), start=1)]
    unknown = [{"drift_preferred": i} for i in range(3 * A_WHILE)]
    for entries in (fine, standing, interrupted, turned, unknown):
        watch = Watch()
        assert not any(watch.rising(means) for means in entries)
