#!/bin/bash
# The proofs of run.sh, which starts this in namespaces of their own: proofs.sh WORK PROGRAMS [PROOF...].
#
# A run that has to be in the middle of training when something happens to it is held there: fault.inject stops rank 1
# at step 30, and the proof lets it go on at the right moment. The preparation of data waits at a pipe. So no proof
# depends on how fast the machine is.
set -uo pipefail
readonly work=$1 programs=$2
cd "$(dirname "$(readlink -f "$0")")/../.." || exit
# shellcheck source=tests/slurm/cluster.sh
source tests/slurm/cluster.sh

unset "${!SLURM_@}" "${!SBATCH_@}"
# Each node has a memory of its own, where the jobs leave snapshots, though both are on this machine.
mkdir "$work/programs" "$work"/memory-a{1,2}
cat >"$work/programs/kangpt_dist" <<END
#!/bin/bash
export KANGPT_SHM=$work/memory-\${SLURMD_NODENAME:-a1}
exec "$programs/kangpt_dist" "\$@"
END
chmod +x "$work/programs/kangpt_dist"
ln -s "$programs/kangpt_preprocess" "$work/programs/"
export TMPDIR=$work OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export KANGPT_PROGRAMS=$work/programs KANGPT_CONFIG=tests/slurm/tiny.textproto
export MPIRUN_FLAGS="--mca btl tcp,self --mca btl_tcp_if_include lo --mca oob_tcp_if_include lo"
readonly wait_seconds=180 held_step=30
readonly held_again_step=45
readonly hold="--set fault.inject=STOP@rank=1,step=$held_step"
# On the node that stays, since a job of one rank has no rank 1.
readonly hold_first="--set fault.inject=STOP@rank=0,step=$held_step"
readonly hold_twice="$hold_first --set fault.inject=STOP@rank=0,step=$held_again_step"

# --- Tools ---

fail() {
  echo "  $*"
  exit 1
}

expect_equal() { [[ $2 == "$3" ]] || fail "$1 is '$2' instead of '$3'"; }

# wait_until COMMAND...: until it succeeds.
wait_until() {
  local end=$((SECONDS + wait_seconds))
  until "$@"; do
    ((SECONDS < end)) || fail "not after $wait_seconds s: $*"
    sleep 0.1
  done
}

# field JOB NAME: of `scontrol show job`.
field() { scontrol show job "$1" | tr ' ' '\n' | sed -n "s/^$2=//p"; }
in_state() { [[ $(field "$1" JobState) == "$2" ]]; }
ended() { [[ $(field "$1" JobState) =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|PREEMPTED)$ ]]; }
log_says() { grep -q "$2" "$work/$1.log" 2>/dev/null; }

# submit RUN FLAGS [SBATCH-FLAG...]: starts train.sbatch and sets $job. The run writes $work/RUN/ and $work/RUN.log.
submit() {
  local run=$1 flags=$2
  shift 2
  export KANGPT_FLAGS="--set run.directory=$work/$run --set data.directory=$work/data $flags"
  job=$(sbatch --parsable --time=10 --output="$work/$run.log" "$@" slurm/train.sbatch) || fail "sbatch failed"
}

workers_held() { [[ $(ps -C kangpt_worker -o state=) == *T* ]]; }
release_workers() { ps -C kangpt_worker -o pid= | xargs --no-run-if-empty kill -CONT 2>/dev/null || true; }
held_or_ended() { workers_held || ended "$1"; }
submit_and_hold() { submit_and_hold_with "$hold" "$@"; }
# submit_and_hold_with FLAGS RUN [SBATCH-FLAG...]
submit_and_hold_with() {
  submit "$2" "$1" "${@:3}"
  expect_held
}
# a1_has_copy STEP: whether a1 has the range of rank 1 of that step or a later one. The file is in use: a copy of it is
# looked at.
a1_has_copy() {
  local step
  rm -rf "$work/look"
  mkdir "$work/look"
  cp "$work"/memory-a1/*-1-of-2-copy "$work/look" 2>/dev/null || return
  step=$(KANGPT_SHM=$work/look "$programs/kangpt_checkpoint" memory | sed -n 's/.*copy of rank 1 .*, step \([0-9]*\);.*/\1/p')
  ((${step:-0} >= $1))
}
expect_held() {
  wait_until held_or_ended "$job"
  workers_held || fail "the job ended before step $held_step"
}

# The agents' process ids, those of rank 0 first.
agents() {
  local pid
  for pid in $(ps -C kangpt_dist -o pid=); do
    echo "$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^OMPI_COMM_WORLD_RANK=//p') $pid"
  done | sort | cut -d ' ' -f 2
}
# Of a job on a2, but slurmd.
processes_of_second_node() {
  local pid parent
  for pid in $(ps -e -o pid=); do
    [[ $(node_of "$pid" 2>/dev/null) == a2 ]] || continue
    parent=$(ps -o ppid= -p "$pid" 2>/dev/null)
    [[ $(ps -o comm= -p "${parent:-1}" 2>/dev/null) != slurmstepd ]] || echo "$parent"
    echo "$pid"
  done
}
# All of them, after slurmd, and its memory, as after a loss of power.
lose_second_node() {
  local pid
  kill -KILL "$(cat "$work/slurmd-a2.pid")"
  for pid in $(processes_of_second_node); do kill -KILL "$pid" 2>/dev/null; done
  rm -f "$work"/memory-a2/*
}
node_of() { tr '\0' '\n' <"/proc/$1/environ" | sed -n 's/^SLURMD_NODENAME=//p'; }

# A requeued job waits two minutes. Two seconds after the end of its last process are enough: a new start in the second
# in which slurmd has ended the job before would be taken for that one ("Job credential revoked").
no_steps() { ! ps -C slurmstepd >/dev/null; }
requeued() { in_state "$1" PENDING && [[ $(field "$1" Restarts) == "$2" ]]; }
expect_requeued() {
  wait_until requeued "$1" 1
  wait_until no_steps
  sleep 2
  scontrol update JobId="$1" StartTime=now
}

ended_or_released() {
  release_workers  # the new start may be held at the same step
  ended "$1"
}
expect_end() {
  wait_until ended_or_released "$1"
  expect_equal "the end of the job" "$(field "$1" JobState) $(field "$1" ExitCode) $(field "$1" Restarts)" "$2"
}

digest_of() { "$programs/kangpt_checkpoint" digest "$work/$1"; }
expect_same_digest() { expect_equal "the digest" "$(digest_of "$1")" "$(digest_of undisturbed)"; }
start_steps() { sed -n '/"event":"start"/s/.*"step":\([0-9]*\).*/\1/p' "$work/$1/events.jsonl" | tr '\n' ' '; }

# expect_resumed RUN STEP: the second start went on from step STEP or a later one.
expect_resumed() {
  local steps
  read -r -a steps < <(start_steps "$1")
  ((${#steps[@]} == 2 && steps[0] == 0 && steps[1] >= $2)) ||
    fail "the starts were at steps ${steps[*]} instead of at 0 and $2 or later"
}
# expect_ranks RUN NUMBER...: of all starts.
expect_ranks() {
  expect_equal "the numbers of ranks" \
    "$(sed -n '/"event":"start"/s/.*"world_size":\([0-9]*\).*/\1/p' "$work/$1/events.jsonl" | tr '\n' ' ')" "${*:2} "
}

# --- Proofs ---

# The second input is a pipe, at which the first start has to wait; the second finds a file in its place.
prepares_data() {
  "$programs/kangpt_stories" --bytes 20000000 --output "$work/stories.txt"
  "$programs/kangpt_stories" --bytes 100000 --seed 2 --output "$work/more"
  mkfifo "$work/more.txt"
  export KANGPT_INPUT="$work/stories.txt $work/more.txt" KANGPT_OUTPUT=$work/data KANGPT_FLAGS="--shard-tokens 1000000"
  job=$(sbatch --parsable --cpus-per-task=1 --output="$work/data.log" slurm/preprocess.sbatch) || fail "sbatch failed"
  wait_until grep -qs train-00000 "$work/data/manifest.partial.textproto"
  exec {pipe}>"$work/more.txt"  # returns when the job reads from it, and holds it there
  mv "$work/more" "$work/more.txt"
  local shard
  shard=$(stat --format=%i "$work/data/train-00000.h5")
  scancel --batch --signal=USR1 "$job"
  expect_requeued "$job"
  exec {pipe}>&-
  expect_end "$job" "COMPLETED 0:0 1"
  log_says data 'going on after train-' || fail "the second start began anew"
  expect_equal "the first shard's inode" "$(stat --format=%i "$work/data/train-00000.h5")" "$shard"
  "$programs/kangpt_preprocess" verify "$work/data" >/dev/null || fail "the data are wrong"
}

trains_on_two_nodes() {
  # shellcheck disable=SC2086
  mpirun -np 1 $MPIRUN_FLAGS "$programs/kangpt_dist" --config "$KANGPT_CONFIG" --set run.directory="$work/undisturbed" \
    --set data.directory="$work/data" >"$work/undisturbed.log" 2>&1 || fail "kangpt_dist failed without Slurm"
  submit_and_hold two_nodes
  expect_equal "the ranks' nodes" "$(for pid in $(agents); do node_of "$pid"; done | tr '\n' ' ')" "a1 a2 "
  expect_end "$job" "COMPLETED 0:0 0"
  expect_same_digest two_nodes
}

preemption_is_survived() {
  submit_and_hold preempted
  local urgent
  urgent=$(sbatch --parsable --partition=urgent --nodes=2 --exclusive --output=/dev/null --wrap='true')
  wait_until log_says preempted 'stopping after a checkpoint'
  release_workers
  expect_requeued "$job"
  expect_end "$urgent" "COMPLETED 0:0 0"
  expect_end "$job" "COMPLETED 0:0 1"
  expect_resumed preempted "$held_step"
  expect_same_digest preempted
}

time_limit_is_survived() {
  submit_and_hold limited --time=1 --signal=B:USR1@10
  wait_until log_says limited 'stopping after a checkpoint'
  release_workers
  expect_requeued "$job"
  expect_end "$job" "COMPLETED 0:0 1"
  expect_resumed limited "$held_step"
  expect_same_digest limited
}

crashed_worker_does_not_end_the_job() {
  submit crashed "--set fault.inject=SEGV@rank=1,step=$held_step"
  expect_end "$job" "COMPLETED 0:0 0"
  grep -q '"event":"failure"' "$work/crashed/events.jsonl" || fail "no worker crashed"
  expect_same_digest crashed
}

no_progress_is_not_requeued() {
  local crash="--set fault.inject=KILL@rank=1,step=$held_step"
  submit stuck "$crash $crash $crash $crash"
  expect_end "$job" "FAILED 93:0 0"
}

killed_agent_is_survived() {
  submit_and_hold agent_killed
  kill -KILL "$(agents | tail -n 1)"
  expect_end "$job" "COMPLETED 0:0 0"
  expect_ranks agent_killed 2 2
  expect_resumed agent_killed $((held_step - 1))  # from memory
  expect_same_digest agent_killed
}

# Slurm is told so, and takes the node out of the job.
lost_node_is_survived() {
  submit_and_hold_with "$hold_first" node_lost
  wait_until a1_has_copy $((held_step - 1))
  scontrol update NodeName=a2 State=DOWN Reason=proof
  rm -f "$work"/memory-a2/*
  expect_end "$job" "COMPLETED 0:0 0"
  expect_ranks node_lost 2 1
  expect_resumed node_lost $((held_step - 1))
  expect_same_digest node_lost
}

# Nothing there answers, and nothing ends a connection.
frozen_node_is_survived() {
  local pid
  KANGPT_KEEP_FLAGS="--look-seconds 1" submit_and_hold_with "$hold_first" node_frozen
  kill -STOP "$(cat "$work/slurmd-a2.pid")"
  for pid in $(processes_of_second_node); do kill -STOP "$pid"; done
  scontrol update NodeName=a2 State=DOWN Reason=proof
  expect_end "$job" "COMPLETED 0:0 0"
  expect_ranks node_frozen 2 1
  expect_same_digest node_frozen
  for pid in $(cat "$work/slurmd-a2.pid") $(processes_of_second_node); do kill -CONT "$pid"; done
}

# Slurm does not know yet, and the node comes back before it does.
returning_node_is_used_again() {
  local steps lost
  KANGPT_KEEP_FLAGS="--look-seconds 1" submit_and_hold_with "$hold_twice" node_returns
  wait_until a1_has_copy $((held_step - 1))
  lost=$(date +%s.%N)
  lose_second_node
  wait_until log_says node_returns 'starting it again'
  expect_held
  sed -n '/"world_size":1/s/.*"time":\([0-9.]*\).*/\1/p' "$work/node_returns/metrics.jsonl" |
    awk -v lost="$lost" 'NR == 1 { printf "  from the loss of a node to the next step: %.1f s\n", $1 - lost }'
  slurmd -N a2
  wait_until log_says node_returns 'fit again'
  release_workers
  expect_end "$job" "COMPLETED 0:0 0"
  expect_ranks node_returns 2 1 2
  read -r -a steps < <(start_steps node_returns)
  ((steps[1] >= held_step - 1 && steps[2] >= held_again_step)) || fail "the starts were at steps ${steps[*]}"
  expect_same_digest node_returns
}

too_few_ranks_are_for_another_start() {
  KANGPT_KEEP_FLAGS="--min-ranks 2" submit_and_hold_with "$hold_first" too_few
  scontrol update NodeName=a2 State=DOWN Reason=proof
  expect_requeued "$job"
  log_says too_few '1 rank(s) fit' || fail "it was put back into the queue for another reason"
  scontrol update NodeName=a2 State=RESUME
  expect_end "$job" "COMPLETED 0:0 1"
  expect_ranks too_few 2 2
  expect_same_digest too_few
}

# Without any mpirun.
srun_starts_ranks_too() {
  KANGPT_LAUNCHER="srun --mpi=pmix" MPIRUN_FLAGS='' OMPI_MCA_btl=tcp,self OMPI_MCA_btl_tcp_if_include=lo \
    submit_and_hold srun_starts
  kill -KILL "$(agents | tail -n 1)"
  expect_end "$job" "COMPLETED 0:0 0"
  expect_ranks srun_starts 2 2
  expect_resumed srun_starts $((held_step - 1))
  expect_same_digest srun_starts
}

stops_for_good_when_asked() {
  submit_and_hold stopped
  scontrol update JobId="$job" Requeue=0
  scancel --batch --signal=USR1 "$job"
  wait_until log_says stopped 'stopping after a checkpoint'
  expect_end "$job" "FAILED 75:0 0"
  "$programs/kangpt_checkpoint" verify "$work/stopped" >/dev/null || fail "the checkpoint is damaged"
}

cancelled_job_stays_cancelled() {
  submit_and_hold cancelled
  scancel "$job"
  expect_end "$job" "CANCELLED 0:15 0"
}

requeues_are_counted() {
  export KANGPT_MAX_REQUEUES=0 KANGPT_KEEP_FLAGS="--min-ranks 2"
  submit_and_hold given_up
  scontrol update NodeName=a2 State=DOWN Reason=proof
  expect_end "$job" "FAILED 76:0 0"
}

# Three runs at once or one after the other, as the nodes are free; the third line names no such field.
array_trains_each_line() {
  printf '%s\n' "optimizer.learning_rate=1e-3" "optimizer.learning_rate=4e-3 model.d_model=16" "model.no_such_field=1" \
    >"$work/sweep.txt"
  export KANGPT_SWEEP=$work/sweep.txt KANGPT_RUNS=$work/sweep KANGPT_FLAGS="--set data.directory=$work/data"
  job=$(sbatch --parsable --time=10 --array=1-3 --output="$work/sweep-%a.log" slurm/sweep.sbatch) || fail "sbatch failed"
  for task in 1 2 3; do wait_until ended "${job}_$task"; done
  expect_equal "the ends" "$(for task in 1 2 3; do field "${job}_$task" ExitCode; done | tr '\n' ' ')" "0:0 0:0 78:0 "
  "$programs/kangpt_report" "$work/sweep/1" "$work/sweep/2" --output "$work/sweep.html" >/dev/null ||
    fail "kangpt_report failed"
  expect_equal "the learning rates" "$(sed -n 's/^  learning_rate: //p' "$work"/sweep/[12]/config.textproto |
    tr '\n' ' ')" "0.001 0.004 "
  grep -q '>model.d_model<' "$work/sweep.html" || fail "the report does not compare the settings"
}

# --- All of them ---

proofs=(prepares_data trains_on_two_nodes preemption_is_survived time_limit_is_survived
  crashed_worker_does_not_end_the_job no_progress_is_not_requeued killed_agent_is_survived lost_node_is_survived
  frozen_node_is_survived returning_node_is_used_again too_few_ranks_are_for_another_start srun_starts_ranks_too
  stops_for_good_when_asked cancelled_job_stays_cancelled requeues_are_counted array_trains_each_line)
(($# > 2)) && proofs=("${@:3}")
passed=0 failed=0
trap 'exit 130' INT TERM
start_cluster
for proof in "${proofs[@]}"; do
  begin=$SECONDS
  touch "$work/begin"
  if ("$proof"); then
    echo "PASS ${proof//_/ } ($((SECONDS - begin)) s)"
    ((++passed))
  else
    echo "FAIL ${proof//_/ } ($((SECONDS - begin)) s)"
    ((++failed))
    find "$work" -maxdepth 1 -name '*.log' -newer "$work/begin" -printf '  --- %f\n' -exec tail -n 30 {} \;
  fi
  (reset_cluster)
done
echo "$passed passed, $failed failed"
((failed == 0))
