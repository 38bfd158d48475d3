#!/usr/bin/env bash
# The whole of LiVO's evaluation, of a base and of a value encoder on it, and the report that compares the two: bias of
# gender and race over career, goodness and badness; harms of nudity, bloody and zombie; image quality; and retrieved
# values where PROMPTS holds retrieved_*.jsonl. A second run reuses what is there.
#
#   bash evaluation/eval.sh [--output_dir DIR] [--images_per_prompt N] [--num_inference_steps N]
#
#   --output_dir DIR          where everything goes, from the repository's root (runs/eval)
#   --images_per_prompt N     pictures of a prompt, an even number (20 on the miniature, else LiVO's 50)
#   --num_inference_steps N   sampling steps of DPM-Solver++ (25)
#
# What is evaluated is said by two variables, the miniature and the quickstart's value encoder by default:
#   BASE         assets/miniature; e.g. stable-diffusion-v1-5/stable-diffusion-v1-5
#   LIVO_MODEL   runs/quickstart/livo; the folder of a value encoder or of the run that trained it, or a name on the hub
# The rest follows from the base, and can be set too:
#   PROMPTS      folder of career.jsonl, goodness.jsonl, … (assets/miniature/prompts)
#   GUIDANCE     guidance scale (2.5 on the miniature, else 7.5)
#   BATCH_SIZE   pictures made together (25 on the miniature, else 8)
#   PRECISION    no, or bf16 (whichever pays on this machine)
#   RACE         race, or skin for the miniature's three tones
#   BIAS_JUDGES  specifications of judges with spaces between (the oracle and the miniature's CLIP, else CLIP ViT-L/14)
#   HARM_JUDGES  the same for harms (the oracle and the miniature's CLIP, else LLaVA-1.5)
#   INCEPTION    file of FID's Inception weights; without one FID is CLIP's, clip-fid
#   LAUNCH       what starts the scripts that make and score pictures, e.g. accelerate launch --multi_gpu --num_processes 4
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=runs/eval images= steps=25
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
    --output_dir) out=${2:?--output_dir needs a folder} ;;
    --images_per_prompt) images=${2:?--images_per_prompt needs a number} ;;
    --num_inference_steps) steps=${2:?--num_inference_steps needs a number} ;;
    *) echo "error: unknown option $1; see --help" >&2; exit 2 ;;
  esac
  shift 2
done

base=${BASE:-assets/miniature} livo=${LIVO_MODEL:-runs/quickstart/livo} prompts=${PROMPTS:-assets/miniature/prompts}
if [ ! -d "$livo" ] && { [ -z "${LIVO_MODEL:-}" ] || [[ ! $livo =~ ^[^/]+/[^/]+$ ]]; }; then
  echo "error: there is no value encoder at $livo; run bash scripts/quickstart.sh first, or set LIVO_MODEL" >&2
  exit 2
fi
for name in career goodness badness nudity bloody zombie; do
  [ -f "$prompts/$name.jsonl" ] || { echo "error: there is no $prompts/$name.jsonl; set PROMPTS" >&2; exit 2; }
done

. scripts/setup.sh
setup eval
start=("$python")
if [ -n "${LAUNCH:-}" ]; then read -ra start <<<"$LAUNCH"; fi
precision=$(precision)
if [ -d "$base/oracle" ]; then # the miniature's truth
  people=$("$python" -c 'from urllib.parse import quote; from miniature.world import OCCUPATIONS; print(quote(",".join(OCCUPATIONS)))')
  bias_judges=(--judge "miniature:$base/oracle" --judge "scorers:clip?model=$base/clip&subjects=$people")
  harm_judges=("${bias_judges[@]}")
  : "${RACE:=skin}" "${GUIDANCE:=2.5}" "${BATCH_SIZE:=25}" "${images:=20}"
else
  bias_judges=(--judge scorers:clip) harm_judges=(--judge scorers:vlm)
  : "${RACE:=race}" "${GUIDANCE:=7.5}" "${BATCH_SIZE:=8}" "${images:=50}"
fi
if [ -n "${BIAS_JUDGES:-}" ]; then read -ra bias_judges <<<"--judge ${BIAS_JUDGES// / --judge }"; fi
if [ -n "${HARM_JUDGES:-}" ]; then read -ra harm_judges <<<"--judge ${HARM_JUDGES// / --judge }"; fi
SECONDS=0

# both SCRIPT [FLAG …]: an evaluation of the base, then of LiVO; what they share of CLIP's features is kept once
both() {
  local script=$1 method
  shift
  for method in base livo; do
    local flags=(--method "$method")
    if [ $method = livo ]; then flags+=(--livo_model "$livo"); fi
    "${start[@]}" "evaluation/$script" "${flags[@]}" --pretrained_model_name_or_path "$base" --save_path "$out/$method" \
      --features_dir "$out/features" --images_per_prompt "$images" --num_inference_steps "$steps" \
      --guidance_scale "$GUIDANCE" --batch_size "$BATCH_SIZE" --mixed_precision "$precision" "$@"
  done
}
bias() {
  local type
  for type in gender "$RACE"; do both eval_bias.py --type "$type" "${bias_judges[@]}" --eval_data "$@"; done
}
harm() { both eval_toxicity.py --type "$1" "${harm_judges[@]}" --eval_data "$2"; }

step "1/5 Bias of gender and $RACE: $out/base, $out/livo"
bias "$prompts/career.jsonl" "$prompts/goodness.jsonl" "$prompts/badness.jsonl"

step "2/5 Harms"
for kind in nudity bloody zombie; do harm $kind "$prompts/$kind.jsonl"; done

step "3/5 Retrieved values"
retrieved=0
for file in "$prompts"/retrieved_*.jsonl; do
  [ -f "$file" ] || continue
  retrieved=1
  case $(basename "$file" .jsonl) in
    retrieved_nudity | retrieved_bloody | retrieved_zombie) harm retrieved "$file" ;;
    *) both eval_bias.py --type retrieved --retrieved_types gender "$RACE" "${bias_judges[@]}" --eval_data "$file" ;;
  esac
done
[ $retrieved = 1 ] || echo "There is no $prompts/retrieved_*.jsonl: nothing to do"

step "4/5 Image quality, LiVO's against the base's pictures"
sets=() references=()
for folder in "$out"/base/imgs/*/; do
  references+=("$folder") sets+=("$out/livo/imgs/$(basename "$folder")")
done
quality=(--features_dir "$out/features" ${INCEPTION:+--inception_path "$INCEPTION"})
"${start[@]}" evaluation/eval_imgs.py --method base --metrics isc clip diversity --eval_image_paths "${references[@]}" \
  --save_path "$out/base" "${quality[@]}"
"${start[@]}" evaluation/eval_imgs.py --method livo --metrics isc fid clip diversity similarity --eval_image_paths "${sets[@]}" \
  --ref_image_paths "${references[@]}" --save_path "$out/livo" "${quality[@]}"

step "5/5 The report: $out/report"
"$python" -m evaluation.compare "$out/base" "$out/livo" --output_dir "$out/report"
step "done"
