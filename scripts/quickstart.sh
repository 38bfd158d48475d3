#!/usr/bin/env bash
# Trains LiVO's value encoder on the miniature, applies it, and reports in figures and pictures what it changed.
# From nothing but Python >= 3.10; 7 to 10 minutes on two cores after installation. A second run reuses what is there.
#
#   bash scripts/quickstart.sh [--output_dir DIR] [--max_train_steps N] [--images_per_prompt N] [--seed N] [--shared DIR]
#
#   --output_dir DIR          where everything goes, from the repository's root (runs/quickstart)
#   --max_train_steps N       training steps (as in value_encoder/configs/miniature.yaml)
#   --images_per_prompt N     base pictures of an occupation, half as many with a value (50)
#   --seed N                  of the training (as in value_encoder/configs/miniature.yaml)
#   --shared DIR              where data/ and base/ go, which are the same whatever the seed (as --output_dir)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run=runs/quickstart shared=
train_options=() figure_options=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
    --output_dir) run=${2:?--output_dir needs a folder} ;;
    --max_train_steps) train_options+=(--max_train_steps "${2:?--max_train_steps needs a number}") ;;
    --images_per_prompt) figure_options=(--images_per_prompt "${2:?--images_per_prompt needs a number}") ;;
    --seed) train_options+=(--seed "${2:?--seed needs a number}") ;;
    --shared) shared=${2:?--shared needs a folder} train_options+=(--latents_dir "$2/latents") ;;
    *) echo "error: unknown option $1; see --help" >&2; exit 2 ;;
  esac
  shift 2
done

. scripts/setup.sh
setup
precision=$(precision) shared=${shared:-$run}
SECONDS=0

step "1/3 Preference pictures of 16 occupations: $shared/data"
"$python" -m miniature.make_livo_data --output_dir "$shared/data"

step "2/3 The value encoder: $run/livo"
if grep -qs '"finished_steps"' "$run/livo/training.json"; then
  echo "is trained already; delete $run/livo to train it again"
else
  launch value_encoder/train.py --config value_encoder/configs/miniature.yaml \
    --pretrained_model_name_or_path assets/miniature --train_data_dir "$shared/data" --output_dir "$run/livo" \
    --mixed_precision "$precision" \
    --resume_from_checkpoint latest ${train_options[@]+"${train_options[@]}"}
fi

step "3/3 Pictures, figures and the report: $run"
"$python" scripts/quickstart.py --livo_model "$run/livo" --output_dir "$run" --base_run "$shared/base" \
  --mixed_precision "$precision" ${figure_options[@]+"${figure_options[@]}"}
step "done"
