#!/usr/bin/env bash
# Concept vectors on the miniature: makes pictures, learns the vectors from them, and measures what they change.
# From nothing but Python >= 3.10; about 16 minutes on two cores after installation. A second run reuses what is there.
#
#   bash scripts/concept_vectors.sh [--output_dir DIR] [--num_samples N] [--max_train_steps N]
#                                   [--images_per_occupation N] [--images_per_prompt N]
#                                   [--images_per_text N] [--images_per_strength N] [--seed N] [--shared DIR]
#
#   --output_dir DIR            where everything goes, from the repository's root (runs/concept_vectors)
#   --num_samples N             pictures of each entry of the list of concepts (32)
#   --max_train_steps N         training steps (as in concept_vectors/configs/miniature.yaml)
#   --images_per_occupation N   pictures of an occupation in the WinoBias protocol (30)
#   --images_per_prompt N       pictures of a prompt that asks for a harm or for attributes (25)
#   --images_per_text N         pictures of a prompt of the responsible-text benchmark (6)
#   --images_per_strength N     pictures of an occupation and strength (3)
#   --seed N                    of the training (as in concept_vectors/configs/miniature.yaml)
#   --shared DIR                where data/ and base/ go, which are the same whatever the seed (as --output_dir)
#
# PRECISION in the environment, no or bf16, takes the place of whichever pays on this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run=runs/concept_vectors shared= samples=32
train_options=() figure_options=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
    --output_dir) run=${2:?--output_dir needs a folder} ;;
    --num_samples) samples=${2:?--num_samples needs a number} ;;
    --max_train_steps) train_options+=(--max_train_steps "${2:?--max_train_steps needs a number}") ;;
    --images_per_occupation | --images_per_prompt | --images_per_text | --images_per_strength)
      figure_options+=("$1" "${2:?$1 needs a number}")
      ;;
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

step "1/3 Pictures of the concepts: $shared/data"
"$python" -m concept_vectors.create_data --concepts concept_vectors/configs/miniature_concepts.yaml --output_dir "$shared/data" \
  --pretrained_model_name_or_path assets/miniature --num_samples "$samples" --guidance_scale 2.5 --num_inference_steps 25 \
  --batch_size 24 --mixed_precision "$precision"

step "2/3 The vectors: $run/training"
if grep -qs '"finished_steps"' "$run/training/training.json"; then
  echo "are learned already; delete $run/training to learn them again"
else
  launch concept_vectors/train.py --config concept_vectors/configs/miniature.yaml \
    --pretrained_model_name_or_path assets/miniature --train_data_dir "$shared/data" --output_dir "$run/training" \
    --mixed_precision "$precision" --resume_from_checkpoint latest ${train_options[@]+"${train_options[@]}"}
fi

step "3/3 Pictures, figures and the report: $run"
"$python" scripts/concept_protocols.py --vectors "$run/training" --output_dir "$run" --base_run "$shared/base" \
  --mixed_precision "$precision" ${figure_options[@]+"${figure_options[@]}"}
step "done"
