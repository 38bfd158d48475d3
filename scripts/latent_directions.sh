#!/usr/bin/env bash
# Latent directions on the miniature: collects latents, fits directions, sweeps, applies them, and measures what they change.
# From nothing but Python >= 3.10. A second run reuses what is there.
#
#   bash scripts/latent_directions.sh [--output_dir DIR] [--num_samples N] [--num_samples_of_one N] [--seed N]
#                                     [--images_per_occupation N] [--images_per_point N] [--images_per_subject N]
#                                     [--vectors DIR] [--livo_model DIR]
#
#   --output_dir DIR            where everything goes, from the repository's root (runs/latent_directions)
#   --num_samples N             pictures of each class that directions are fitted on (112)
#   --num_samples_of_one N      of each class of a person, and of one occupation (32)
#   --seed N                    of the first collected picture (500000, far from those that are measured)
#   --images_per_occupation N   pictures of an occupation where members are dealt out (6)
#   --images_per_point N        of an occupation at each weight, and for each fit of the curves (2)
#   --images_per_subject N      of an occupation at each point of the sweep (2)
#   --vectors DIR               concept vectors for the composition (runs/concept_vectors/training, if it is there)
#   --livo_model DIR            a value encoder for the composition (runs/quickstart/livo, if it is there)
#
# PRECISION in the environment, no or bf16, takes the place of whichever pays on this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run=runs/latent_directions samples=112 of_one=32 seed=500000 vectors=runs/concept_vectors/training livo=runs/quickstart/livo
options=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
    --output_dir) run=${2:?--output_dir needs a folder} ;;
    --num_samples) samples=${2:?--num_samples needs a number} ;;
    --num_samples_of_one) of_one=${2:?--num_samples_of_one needs a number} ;;
    --seed) seed=${2:?--seed needs a number} ;;
    --images_per_occupation | --images_per_point | --images_per_subject) options+=("$1" "${2:?$1 needs a number}") ;;
    --vectors) vectors=${2:?--vectors needs a folder} ;;
    --livo_model) livo=${2:?--livo_model needs a folder} ;;
    *) echo "error: unknown option $1; see --help" >&2; exit 2 ;;
  esac
  shift 2
done

. scripts/setup.sh
setup
precision=$(precision)
SECONDS=0
base=(--pretrained_model_name_or_path assets/miniature)

step "1/3 Latents of the classes: $run/data"
"$python" scripts/latent_classes.py --output_dir "$run/classes"
for name in gender tones person one; do
  case $name in gender | tones) count=$samples ;; *) count=$of_one ;; esac
  "$python" -m latent_directions.collect "${base[@]}" --classes "$run/classes/$name.yaml" --output_dir "$run/data/$name" \
    --num_samples "$count" --seed "$seed" --guidance_scale 2.5 --num_inference_steps 25 --batch_size 25 \
    --mixed_precision "$precision"
done

step "2/3 The directions: $run/directions"
for name in gender tones person one; do
  "$python" -m latent_directions.fit --train_data_dir "$run/data/$name" --output_dir "$run/directions/$name"
done

step "3/3 The sweep, pictures, figures and the report: $run"
if [ -e "$vectors" ]; then options+=(--vectors "$vectors"); else echo "no concept vectors in $vectors: composed without"; fi
if [ -e "$livo" ]; then options+=(--livo_model "$livo"); else echo "no value encoder in $livo: composed without"; fi
"$python" scripts/latent_protocols.py --run "$run" --output_dir "$run" --mixed_precision "$precision" \
  ${options[@]+"${options[@]}"}
step "done"
