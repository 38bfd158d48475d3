"""Which pictures are preferred: pairs, labels, choices and scores, as they are published, made and converted."""

from typing import TYPE_CHECKING

from diffusion_base.lazy import lazy

if TYPE_CHECKING:
    from preference_data.convert import (
        choices_to_pairs,
        labels_to_pairs,
        labels_to_scores,
        pairs_to_labels,
        scores_to_choices,
        scores_to_labels,
        scores_to_pairs,
    )
    from preference_data.opening import open_dataset, open_rows
    from preference_data.published import read_hps_choices, read_kto_table, read_livo_dataset, read_livo_folder
    from preference_data.schema import Choice, Labelled, Pair, Scored, read_records, write_records

__getattr__, __dir__ = lazy(
    __name__,
    {
        "preference_data.schema": ("Choice", "Labelled", "Pair", "Scored", "read_records", "write_records"),
        "preference_data.convert": (
            *("choices_to_pairs", "labels_to_pairs", "labels_to_scores", "pairs_to_labels"),
            *("scores_to_choices", "scores_to_labels", "scores_to_pairs"),
        ),
        "preference_data.opening": ("open_dataset", "open_rows"),
        "preference_data.published": ("read_hps_choices", "read_kto_table", "read_livo_dataset", "read_livo_folder"),
    },
)
