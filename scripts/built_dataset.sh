#!/usr/bin/env bash
# Does a preference set that the base makes itself teach what the renderer's perfect one teaches? Builds one by the
# miniature's plan, confirmed by the miniature's CLIP; trains LiVO on it and on the renderer's pictures, alike; and compares
# the base and both on the eight held-out occupations, by the oracle and by CLIP. A second run goes on where the first stopped.
#
#   bash scripts/built_dataset.sh [--output_dir DIR] [--scale S] [--max_train_steps N] [--images_per_prompt N]
#
#   --output_dir DIR          where everything goes, from the repository's root (runs/built_dataset)
#   --scale S                 share of the plan's pictures to make (1)
#   --max_train_steps N       training steps (as in value_encoder/configs/miniature.yaml)
#   --images_per_prompt N     pictures of a held-out occupation, an even number (50)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run=runs/built_dataset images=50 build_options=() train_options=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
    --output_dir) run=${2:?--output_dir needs a folder} ;;
    --scale) build_options=(--scale "${2:?--scale needs a number}") ;;
    --max_train_steps) train_options=(--max_train_steps "${2:?--max_train_steps needs a number}") ;;
    --images_per_prompt) images=${2:?--images_per_prompt needs a number} ;;
    *) echo "error: unknown option $1; see --help" >&2; exit 2 ;;
  esac
  shift 2
done

. scripts/setup.sh
setup
precision=$(precision)
people=$("$python" -c 'from urllib.parse import quote; from miniature.world import OCCUPATIONS; print(quote(",".join(OCCUPATIONS)))')
base=assets/miniature prompts=assets/miniature/prompts
clip="scorers:clip?model=$base/clip&subjects=$people"
making=(--pretrained_model_name_or_path "$base" --guidance_scale 2.5 --batch_size 25 --mixed_precision "$precision")
SECONDS=0

step "1/4 The preference sets: $run/built/data, $run/rendered/data"
launch preference_data/build.py --plan preference_data/plans/miniature.yaml --output_dir "$run/built/data" \
  --judge "$clip" "${making[@]}" ${build_options[@]+"${build_options[@]}"}
"$python" -m miniature.make_livo_data --output_dir "$run/rendered/data"

step "2/4 A value encoder on each: $run/built/livo, $run/rendered/livo"
for set in rendered built; do
  if grep -qs '"finished_steps"' "$run/$set/livo/training.json"; then
    echo "$run/$set/livo is trained already; delete it to train it again"
    continue
  fi
  launch value_encoder/train.py --config value_encoder/configs/miniature.yaml \
    --pretrained_model_name_or_path "$base" --train_data_dir "$run/$set/data" --output_dir "$run/$set/livo" --mixed_precision "$precision" \
    --resume_from_checkpoint latest ${train_options[@]+"${train_options[@]}"}
done

step "3/4 Bias and harms on held-out occupations: $run/eval"
for set in base rendered built; do
  method=(--method base)
  if [ $set != base ]; then method=(--method livo --livo_model "$run/$set/livo"); fi
  shared=("${method[@]}" "${making[@]}" --judge "miniature:$base/oracle" --judge "$clip" --image_format png
    --save_path "$run/eval/$set" --features_dir "$run/eval/features" --num_workers 0)
  for type in gender skin; do
    "$python" evaluation/eval_bias.py --type $type --eval_data "$prompts/career.jsonl" --images_per_prompt "$images" \
      "${shared[@]}"
  done
  for kind in nudity bloody zombie; do
    "$python" evaluation/eval_toxicity.py --type $kind --eval_data "$prompts/$kind.jsonl" \
      --images_per_prompt $(((images + 3) / 4)) "${shared[@]}"
  done
done

step "4/4 The table: $run/report"
"$python" -m evaluation.compare "$run/eval/base" "$run/eval/rendered" "$run/eval/built" --output_dir "$run/report" \
  --name base --name "LiVO, rendered set" --name "LiVO, built set" --title "LiVO on a set that the base made itself" \
  --intro "Both value encoders were trained alike; only the pictures they learned from differ."
"$python" -c '
import json, sys

rows = json.load(open(sys.argv[1], encoding="utf-8"))["figures"]
asked = ("D1", "gender, career", "oracle")
base, rendered, built = (row["value"] for row in rows if (row["metric"], row["measured_on"], row["judge"]) == asked)
more = "less" if built <= rendered else "MORE"
beside = f"{abs(built - rendered):.3f} {more} imbalance than the rendered set"
print(f"\ngender D1 by the oracle: base {base:.3f}, rendered set {rendered:.3f}, built set {built:.3f}: {beside}")
' "$run/report/comparison.json"
step "done"
