"""What a command line says of a preference fine-tuning; the defaults are those of Diffusion-KTO's released script."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qsl

import tyro
from annotated_types import Ge, Lt

from diffusion_base.arguments import MAY_CHANGE, Count, NotNegative, Positive, Share, WholeNumber, check_ranges
from diffusion_base.errors import UserError
from diffusion_base.plugins import typed_options
from diffusion_base.training.arguments import PictureArguments, TrainingArguments, ValidationArguments
from preference_data.convert import Intersections
from preference_data.opening import open_dataset, open_rows
from preference_finetuning.objective import Objective, objective

if TYPE_CHECKING:
    from diffusion_base.latents import LatentCache
    from diffusion_base.pipeline import Pipeline
    from preference_data.rows import Rows

Momentum = Annotated[float, Ge(0), Lt(1)]
POLICIES: dict[str, Intersections] = {
    "gt_label_w_l": "drop",
    "gt_label_wi_l": "preferred",
    "gt_label_w_il": "dispreferred",
}
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(kw_only=True)
class PreferenceTraining(TrainingArguments):
    """How to train."""

    learning_rate: NotNegative = 1e-7
    """The highest learning rate of the schedule, for a whole denoiser; a LoRA wants a higher one."""
    lr_scheduler: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"
    ] = "constant_with_warmup"
    lr_warmup_steps: WholeNumber = 200
    max_train_steps: Count | None = None
    """Length of the training in optimizer steps; overrides --num_train_epochs. 20,000 where neither is given."""
    ema_decay: Annotated[Momentum, tyro.conf.arg(aliases=["--ema_momentum"])] = 0.9999
    tracker_project_name: Annotated[str, MAY_CHANGE, tyro.conf.arg(aliases=["--tracker_name"])] = "t2i-align"
    checkpointing_steps: Count = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_train_steps is None and self.num_train_epochs is None:
            self.max_train_steps = 20_000


@dataclass(kw_only=True)
class ObjectiveArguments:
    """What is minimised. Settings without a flag of their own: --objective "mapo?snr=0.5"."""

    objective: Annotated[str, tyro.conf.arg(aliases=["--loss"])] = "kto"
    """kto, kto_gp; of pairs dpo, ipo, hinge, mapo; sft, csft, reward_weighted. A module of losses/, by its name."""
    beta_dpo: Positive | None = None
    """β, with errors that are means over the picture. kto has no ½ before it (1000; 5000 in the paper); dpo, ipo and
    hinge have the paper's ½ (5000; scripts without the ½ mean the same by 2500); for mapo it is the weight of the odds
    (0.1)."""
    halo: Literal["sigmoid", "loss_averse", "risk_seeking_1", "risk_seeking_2", "risk_seeking_3"] | None = None
    """kto: the utility (sigmoid, Kahneman and Tversky's)."""
    bce_offset: Literal["none", "sigmoid", "original"] | None = None
    """kto, kto_gp: the reference point. none: the clamped mean over the step; sigmoid: the mean of its two class means;
    original: the mean over mismatched pictures and prompts, at the cost of two more passes (none)."""
    lambda_d_kto: NotNegative | None = None
    """kto, kto_gp: weight of preferred pictures (1)."""
    lambda_u_kto: NotNegative | None = None
    """kto, kto_gp: weight of dispreferred pictures (1)."""
    snr_gamma: Positive | None = None
    """γ of the min-SNR weight on every error, usually 5; without it all timesteps weigh the same."""
    timesteps_per_sample: Count = 1
    """Draws of noise and timestep for each sample, whose errors are averaged before the loss: against its variance."""
    timestep_range: tuple[WholeNumber, WholeNumber] | None = None
    """Draw timesteps from the first of two numbers to before the second; 0 is the picture, 1000 noise."""
    prediction_type: Literal["epsilon", "v_prediction"] | None = None
    """What the network predicts, if the base's scheduler says it wrongly."""

    def __post_init__(self) -> None:
        check_ranges(self)
        self.settings()

    @property
    def name(self) -> str:
        return self.objective.partition("?")[0]

    @property
    def chosen(self) -> Objective:
        return objective(self.name)

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of the objective's loss.

        Raises:
            UserError: no such objective, or one without such a setting.
        """
        flags = {
            "beta_dpo": "beta",
            "halo": "halo",
            "bce_offset": "bce_offset",
            "lambda_d_kto": "lambda_d",
            "lambda_u_kto": "lambda_u",
        }
        given = dict(parse_qsl(self.objective.partition("?")[2], keep_blank_values=True))
        for flag, setting in flags.items():
            if (value := getattr(self, flag)) is not None:
                given[setting] = str(value)
        return typed_options(self.chosen.loss, given, f"--objective {self.name}", reserved=("errors",))


@dataclass(kw_only=True)
class AdaptationArguments:
    """What is trained, and what it is compared with."""

    use_lora: bool = False
    """Train a LoRA on the denoiser instead of all of it."""
    rank: Count | None = None
    """Of the LoRA (4)."""
    lora_alpha: Positive | None = None
    """The LoRA counts alpha / rank; by default the rank, so 1."""
    lora_targets: tuple[str, ...] = ATTENTION
    """Ends of the names of layers with a LoRA, linear ones and convolutions; conv1, conv2 and ff.net.2 for instance."""
    reference_ema: bool = False
    """Have the reference follow what is trained, by a step of a moving average every 20 steps."""
    reference_ema_momentum: Momentum = 0.999
    """Weight of the past in that average."""
    measure_drift: bool = False
    """Run the reference also for an objective without one, to log how far it drifts from the base."""


@dataclass(kw_only=True)
class DataArguments:
    """What people said; see preference_data/README.md."""

    train_data_dir: Annotated[str | None, MAY_CHANGE] = None
    """A folder with <split>_processed_v3.csv, a metadata.csv, parquet or tar files, or pictures in preferred/ and
    dispreferred/; or a .csv, .jsonl or .parquet file."""
    dataset_name: Annotated[str | None, MAY_CHANGE] = None
    """Instead: a Hugging Face dataset, by name or path, such as yuvalkirstain/pickapic_v2."""
    dataset_split_name: str = "train"
    """Its split."""
    pick_split: str = "train"
    """Split of a folder's data: the first part of its files' names."""
    dataloader: Literal["pick", "default"] | None = None
    """pick insists on Pick-a-Pic's <split>_processed_v3.csv; else the folder says itself what it holds."""
    policy: Literal["gt_label_w_l", "gt_label_wi_l", "gt_label_w_il"] = "gt_label_wi_l"
    """Pictures that both won and lost: dropped (w_l), preferred (wi_l) or dispreferred (w_il)."""
    max_train_samples: Count | None = None
    """Take only so many rows, at random."""
    positive_ratio: Share | None = None
    """Share of preferred pictures among the draws; without it every picture is drawn once an epoch."""
    proportion_empty_prompts: Share = 0.2
    """Share of samples whose prompt is left empty."""
    cache_latents: bool = True
    """Encode every picture once, at the start, and keep its latents; else at every step, as always where pictures lie
    in the table itself."""

    def __post_init__(self) -> None:
        if self.train_data_dir is None and self.dataset_name is None:
            raise UserError("give the data by --train_data_dir or by --dataset_name")
        if self.dataloader == "pick" and self.train_data_dir is not None:
            table = Path(self.train_data_dir) / f"{self.pick_split}_processed_v3.csv"
            if not table.is_file():
                raise UserError(f"--dataloader pick: there is no {table}; leave the flag out for other data")

    def open(self, seed: int, cache_dir: str | None) -> "Rows":
        """The rows. Where both a folder and a dataset are named, the folder counts, as in the released script."""
        import numpy as np

        policy = POLICIES[self.policy]
        if self.train_data_dir is not None:
            rows = open_rows(self.train_data_dir, split=self.pick_split, intersections=policy)
        else:
            assert self.dataset_name is not None  # or __post_init__ would have refused
            split = self.dataset_split_name
            rows = open_dataset(self.dataset_name, split=split, cache_dir=cache_dir, intersections=policy)
        if self.max_train_samples is not None and self.max_train_samples < len(rows):
            chosen = np.random.default_rng(seed).permutation(len(rows))[: self.max_train_samples]
            rows = rows.take(np.sort(chosen))
        return rows


@dataclass(kw_only=True)
class PreferencePictures(PictureArguments):
    """How the training pictures are cut: centre crop and flips, as in the released script."""

    center_crop: bool = True
    random_crop: bool = False
    """The same as --no-center_crop."""
    random_flip: bool = True
    no_hflip: bool = False
    """The same as --no-random_flip."""
    vae_encode_batch_size: Annotated[Count, MAY_CHANGE] = 8
    """Pictures that are encoded together when latents are kept."""

    def __post_init__(self) -> None:
        self.center_crop, self.random_flip = self.center_crop and not self.random_crop, self.random_flip > self.no_hflip

    def cache(self, pipeline: "Pipeline", training: TrainingArguments) -> "LatentCache":
        cache = super().cache(pipeline, training)
        cache.batch_size = self.vae_encode_batch_size
        return cache


@dataclass(kw_only=True)
class PreferenceValidation(ValidationArguments):
    """Which pictures to look at while training."""

    run_validation: Annotated[bool, MAY_CHANGE] = False
    """Make validation pictures, the base's beside what was trained."""
    fixed_noise: Annotated[bool, MAY_CHANGE] = False
    """From the same noise every time; else each time from another."""
