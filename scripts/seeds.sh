#!/usr/bin/env bash
# LiVO and concept vectors on the miniature, each trained with several seeds: quickstart.sh and concept_vectors.sh once a
# seed, with the data and the base's pictures made once; then what comes of all seeds together.
# Killed at any moment it goes on where it stopped, and a second run reuses what is there.
#
#   bash scripts/seeds.sh [--seeds N N …] [--output_dir DIR] [--max_train_steps N] [--images_per_prompt N] [--num_samples N]
#                         [--images_per_occupation N] [--images_per_text N] [--images_per_strength N]
#
#   --seeds N N …             training seeds, two or more (0 1 2)
#   --output_dir DIR          where everything goes, from the repository's root (runs/seeds)
#   --max_train_steps N       steps of each training (as in the methods' configs/miniature.yaml)
#   --images_per_prompt N     pictures of a prompt, an even number (as in the two scripts)
#   --num_samples N and so on: see concept_vectors.sh
#
# DIR/results.json has the figures of both methods: means over the seeds, with intervals that hold prompts and seeds, the
# spread of the seeds and the worst one. DIR/livo and DIR/vectors have the comparison's report, DIR/livo/seed0 … a seed's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run=runs/seeds
seeds=() options=() vector_options=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
    --seeds)
      while [[ ${2:-} =~ ^[0-9]+$ ]]; do seeds+=("$2"); shift; done
      shift
      continue
      ;;
    --output_dir) run=${2:?--output_dir needs a folder} ;;
    --max_train_steps | --images_per_prompt) options+=("$1" "${2:?$1 needs a number}") ;;
    --num_samples | --images_per_occupation | --images_per_text | --images_per_strength)
      vector_options+=("$1" "${2:?$1 needs a number}")
      ;;
    *) echo "error: unknown option $1; see --help" >&2; exit 2 ;;
  esac
  shift 2
done
if [ ${#seeds[@]} -eq 0 ]; then seeds=(0 1 2); fi
if [ ${#seeds[@]} -eq 1 ]; then echo "error: --seeds needs two or more, not ${seeds[0]} alone" >&2; exit 2; fi

. scripts/setup.sh
setup
for seed in "${seeds[@]}"; do
  printf '\nLiVO, training seed %s\n' "$seed"
  bash scripts/quickstart.sh --output_dir "$run/livo/seed$seed" --seed "$seed" --shared "$run/livo" ${options[@]+"${options[@]}"}
done
for seed in "${seeds[@]}"; do
  printf '\nConcept vectors, training seed %s\n' "$seed"
  bash scripts/concept_vectors.sh --output_dir "$run/vectors/seed$seed" --seed "$seed" --shared "$run/vectors" \
    ${options[@]+"${options[@]}"} ${vector_options[@]+"${vector_options[@]}"}
done
"$python" scripts/seeds.py --seeds "${seeds[@]}" --output_dir "$run"
