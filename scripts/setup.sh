# Sourced by the other scripts: a virtual environment in .venv with this repository in it.
#
#   setup [EXTRA]     e.g. `setup dev`; leaves the interpreter in $python. What is installed and unchanged is left alone.
#   launch SCRIPT …   by accelerate, in one process
#   precision         bf16 where it pays on this machine, else no; PRECISION in the environment comes first
#   step TEXT         a headline with the seconds since the script began
#
# pip's own configuration holds: a CPU build of torch that it offers is taken, unless there is a CUDA device.

find_python() {
  local candidate
  for candidate in python3 python python3.12 python3.13 python3.11 python3.10 python3.14; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  cat >&2 <<'EOF'
error: no Python 3.10 or newer with the venv module was found on PATH.
Install one, for example: apt install python3 python3-venv · brew install python · conda create -n py python=3.12
EOF
  return 2
}

has_cuda_device() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }

setup() {
  local extra=${1:-} found state torch pip
  python=$PWD/.venv/bin/python
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    if [ -e .venv ]; then
      echo "error: .venv is there but holds no working Python 3.10 or newer; delete it and run this again." >&2
      return 2
    fi
    found=$(find_python) || return
    echo "Making .venv with $("$found" --version) ($found)"
    "$found" -m venv .venv || return
  fi

  state=$(cat pyproject.toml constraints.txt | cksum)
  if [ "$(cat .venv/.installed 2>/dev/null)" = "$state" ] && { [ -z "$extra" ] || [ -e ".venv/.installed-$extra" ]; }; then
    echo "Using .venv ($("$python" --version), installed and unchanged)"
    return
  fi
  rm -f .venv/.installed*
  pip="$python -m pip --disable-pip-version-check install -c constraints.txt"
  echo "Installing this repository into .venv under constraints.txt: a few minutes, once"
  $pip -e ".${extra:+[$extra]}" || return
  if has_cuda_device && ! "$python" -c 'import sys, torch; sys.exit(torch.version.cuda is None)'; then
    torch=$(sed -n 's/^torch==//p' constraints.txt)
    echo "There is a CUDA device, but pip is configured for a CPU build of torch: trying the CUDA build"
    $pip "torch===$torch" || echo "No CUDA build of torch $torch can be had here: going on with the CPU build"
  fi
  if [ -n "$extra" ]; then touch ".venv/.installed-$extra"; fi
  echo "$state" >.venv/.installed
}

launch() {
  "$python" -m accelerate.commands.launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no "$@"
}

precision() {
  if [ -n "${PRECISION:-}" ]; then
    echo "$PRECISION"
  else
    "$python" -c 'from diffusion_base.doctor import best_precision; print(best_precision())'
  fi
}

step() { printf '\n[%d s] %s\n' "$SECONDS" "$1"; }
