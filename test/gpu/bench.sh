#!/bin/bash
# What to measure in the first hour with a GPU: bench.sh RESULTS [NODE]. Each step writes JSON into RESULTS as it ends, the most
# important first; steps.jsonl says which ended well. Needs a driver; with REPVGG_PYTHON, a Python with PyTorch, also the
# peers. REPVGG_BENCH_MINUTES (default 60) is when no further step begins.
set -u
here=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
results=${1:?"usage: bench.sh RESULTS [NODE]"}
node=${2:-node}
limit=$((${REPVGG_BENCH_MINUTES:-60} * 60))
"$node" -e 'fs.mkdirSync(process.argv[1], {recursive: true})' "$results"
results=$(cd "$results" && pwd)
export REPVGG_CACHE_DIR=${REPVGG_CACHE_DIR:-$results/cache}
repvgg=("$node" "$here/dist/cli/main.js")
failed=0

say() {
  # shellcheck disable=SC2059
  printf "$@"
  # shellcheck disable=SC2059
  printf "$@" >>"$results/steps.jsonl"
}
# step NAME COMMAND...: standard output becomes NAME.json.
step() {
  local name=$1 start=$SECONDS ok=true
  shift
  if ((SECONDS > limit)); then
    say '{"name": "%s", "ok": null, "seconds": 0, "detail": "no time left"}\n' "$name"
    return
  fi
  "$@" >"$results/$name.json" 2>"$results/$name.log" || { ok=false; failed=1; }
  say '{"name": "%s", "ok": %s, "seconds": %d}\n' "$name" "$ok" $((SECONDS - start))
}
bench() {
  local name=$1
  shift
  step "$name" "${repvgg[@]}" bench --device cuda --output "$results/$name" --json "$@"
}
: >"$results/steps.jsonl"

step doctor "${repvgg[@]}" doctor --json
peers=()
if [ -n "${REPVGG_PYTHON:-}" ]; then
  # What to beat, beside us in the same rounds.
  bench baseline-fp16 --precision fp16 --models A0,A2,B1,B1g4,B3 --batch 1,8,32,128,256 --stage engine --seconds 1 --peers pytorch
  peers=(--peers pytorch)
fi
for precision in fp16 bf16 tf32 fp32; do
  bench "engine-$precision" --precision "$precision" --models all --batch 128,256 --stage engine --seconds 1
done
bench latency --precision fp16 --models all --batch 1,8 --stage engine --seconds 0.5
# What runs in each layer, with the times of every candidate, and the same with each algorithm forced.
for precision in fp16 fp32; do
  for model in A0 A2 B1 B1g4 B3; do
    step "layers-$precision-$model" "${repvgg[@]}" info "$model" --layers --device cuda --precision "$precision" --batch-size 128 --json
  done
done
for algorithm in direct f2 f4; do
  REPVGG_ALGORITHM=$algorithm bench "fp32-$algorithm" --precision fp32 --models A2,B1,B3 --batch 128 --stage engine --seconds 1
done
bench pipeline --precision fp16 --models A0,A2 --batch 128 --stage pipeline,decode,preprocess --seconds 2
for precision in bf16 fp32; do
  bench "baseline-$precision" --precision "$precision" --models A0,A2,B1,B3 --batch 128 --stage engine --seconds 1 "${peers[@]}"
done
if [ -n "${REPVGG_PYTHON:-}" ]; then
  bench baseline-compile --precision fp16 --models A0,A2,B1,B1g4,B3 --batch 128 --stage engine --seconds 1 --peers pytorch-compile
fi
exit "$failed"
