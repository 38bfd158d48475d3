"""Which pictures are preferred: pairs, labels and choices in one schema, published formats, and a builder of sets."""

from typing import TYPE_CHECKING

from diffusion_base.lazy import lazy

if TYPE_CHECKING:
    from preference_data.convert import choices_to_pairs, labels_to_pairs, pairs_to_labels
    from preference_data.published import read_hps_choices, read_kto_table, read_livo_dataset, read_livo_folder
    from preference_data.schema import Choice, Labelled, Pair, read_records, write_records

__getattr__, __dir__ = lazy(
    __name__,
    {
        "preference_data.schema": ("Choice", "Labelled", "Pair", "read_records", "write_records"),
        "preference_data.convert": ("choices_to_pairs", "labels_to_pairs", "pairs_to_labels"),
        "preference_data.published": ("read_hps_choices", "read_kto_table", "read_livo_dataset", "read_livo_folder"),
    },
)
