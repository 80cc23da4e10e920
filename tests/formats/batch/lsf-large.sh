#!/bin/bash
#BSUB -J climate
#BSUB -n 32
#BSUB -R "span[ptile=16]"
#BSUB -o climate-%J.log
#BSUB -R "rusage[mem=34000MB]"
#BSUB -W 2:00
#BSUB -q main
#BSUB -P climate
# bsub < THIS-FILE, in the work directory, which all nodes must see.
# One job: a scheduler, 8 workers and a repeat, all from one image.
set -u
image='/share/my image'"'"'s.sif'
options=(-B /scratch -B /data:/data:ro)
# shellcheck disable=SC2016  # words as they were given
arguments=(--from 3 -o 'a $b.ipynb')

# What an image that is around the caller has set would break the ones that are started here.
for name in $(compgen -e); do
  case $name in APPTAINER* | SINGULARITY* | LD_* | PYTHON*) unset "$name" ;; esac
done

fail() {
  echo "job: $*" >&2
  exit 5
}

engine=$(command -v apptainer || command -v singularity) ||
  fail "start the image: there is no apptainer on $(hostname); load its module in this script"
[ -r "$image" ] ||
  fail "start $image: it cannot be read on $(hostname); print this script with --image PATH"
place=$(mktemp -d "$PWD/.nbrw-job-XXXXXX") || fail "use $PWD: it cannot be written"
run=("$engine" -q run "${options[@]+"${options[@]}"}" "$image")
tls=()
scheduler='' repeat='' code=5

# shellcheck disable=SC2317  # called when the script ends
finish() {
  trap '' TERM INT
  # Workers end when their scheduler has, and then remove what they have on the node's disk.
  for pid in $repeat $scheduler; do kill "$pid" 2>/dev/null; done
  # Who cancels a job may give it little time to end.
  case $code in 130 | 143) rm -rf "$place" ;; esac
  for signal in TERM KILL; do
    for _ in $(seq 50); do
      [ -n "$(jobs -rp)" ] || break
      sleep 0.2
    done
    for pid in $(jobs -rp); do kill "-$signal" "$pid" 2>/dev/null; done
  done
  if [ "$code" -ne 0 ] && [ -d "$place" ]; then
    tail -n 20 "$place"/*.log >&2
  fi
  rm -rf "$place"
  exit "$code"
}
trap finish EXIT
trap 'code=143; exit' TERM
trap 'code=130; exit' INT
(
  umask 077
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=nbrw \
    -keyout "$place/key.pem" -out "$place/cert.pem" 2>"$place/openssl.log" &&
    cp "$place/cert.pem" "$place/ca.pem"
) || fail "make certificates: openssl is needed on $(hostname)"
tls=(--tls "$place")

"${run[@]}" scheduler --scheduler-file "$place/scheduler.json" --port 0 \
  --interface ib0 "${tls[@]+"${tls[@]}"}" >"$place/scheduler.log" 2>&1 &
scheduler=$!
for _ in $(seq 600); do
  [ -s "$place/scheduler.json" ] && break
  kill -0 "$scheduler" 2>/dev/null || break
  sleep 0.1
done
[ -s "$place/scheduler.json" ] || fail "start the scheduler: it does not answer"

{
  printf 'cd %q || exit 5\n' "$PWD"
  printf 'exec'
  printf ' %q' "${run[@]}" worker "scheduler-file:$place/scheduler.json" "${tls[@]+"${tls[@]}"}"
  echo ' --workers 4 --cores 4 --memory 8000000000 --interface ib0'
} >"$place/worker.sh"
start_workers() {
  exec blaunch -z "$(sort -u "$LSB_DJOB_HOSTFILE" | tr '\n' ' ')" /bin/bash "$place/worker.sh"
}
start_workers >"$place/workers.log" 2>&1 &

"${run[@]}" repeat --cluster "scheduler-file:$place/scheduler.json" --workers 8 \
  "${tls[@]+"${tls[@]}"}" "${arguments[@]+"${arguments[@]}"}" &
repeat=$!
# A signal ends the wait, and the script.
wait "$repeat"
code=$?
repeat=''
exit
