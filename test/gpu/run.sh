#!/bin/bash
# Runs the tests that need a GPU: run.sh RESULTS [NODE]. RESULTS/tests.jsonl has a line for each; summary.json counts
# them. Needs a driver, and what stands beside this script: repvgg_gpu_tests, and the built package two folders up.
set -u
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
results=${1:?"usage: run.sh RESULTS [NODE]"}
node=${2:-node}
tests=${REPVGG_GPU_TESTS:-$here/repvgg_gpu_tests}
"$node" -e 'fs.mkdirSync(process.argv[1], {recursive: true})' "$results"
results=$(cd "$results" && pwd)
export REPVGG_CACHE_DIR=${REPVGG_CACHE_DIR:-$results/cache}

"$node" "$here/networks.mjs" >"$results/networks.jsonl" 2>"$results/networks.log"
status=$?
if [ "$status" = 2 ]; then
  printf '%s\n' "$(<"$results/networks.jsonl")" >"$results/tests.jsonl"
  printf '{"passed": 0, "failed": 0, "device": false}\n' >"$results/summary.json"
  printf '%s\n' "$(<"$results/tests.jsonl")"
  exit 2
fi

# References are computed on the CPU: one process for each precision.
cases=("convolutions: fp32" "convolutions: tf32" "convolutions: fp16" "convolutions: bf16" "small layers" stem wrappers)
pids=()
for i in "${!cases[@]}"; do
  "$tests" "${cases[$i]}" >"$results/part$i.jsonl" 2>"$results/part$i.log" &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || status=1; done
# Speed beside what the device can do, where it is asked for: REPVGG_ROOFLINE=A2,B1 or all.
[ -z "${REPVGG_ROOFLINE:-}" ] || "$tests" roofline >"$results/roofline.jsonl" 2>"$results/roofline.log" || status=1
# Alone: it counts the device's memory.
"$tests" memory >"$results/memory.jsonl" 2>"$results/memory.log" || status=1
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests" "small layers" stem wrappers >"$results/$tool.log" 2>&1 || status=1
    ok=false
    [[ $(<"$results/$tool.log") =~ ('ERROR SUMMARY: 0 errors'|' 0 hazards') ]] && ok=true
    printf '{"name": "compute-sanitizer %s", "ok": %s, "ms": 0, "detail": ""}\n' "$tool" "$ok" >"$results/$tool.jsonl"
  done
fi

passed=0 failed=0
: >"$results/tests.jsonl"
for part in "$results"/networks.jsonl "$results"/part*.jsonl "$results"/m*.jsonl "$results"/racecheck.jsonl; do
  [ -f "$part" ] || continue
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$results/tests.jsonl"
    case $line in
      *'"ok":true'* | *'"ok": true'*) passed=$((passed + 1)) ;;
      *) failed=$((failed + 1)); printf '%s\n' "$line" ;;
    esac
  done <"$part"
done
printf '{"passed": %d, "failed": %d, "device": true}\n' "$passed" "$failed" >"$results/summary.json"
printf '%s\n' "$(<"$results/summary.json")"
[ "$status" = 0 ] && [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
