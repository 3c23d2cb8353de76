# shellcheck shell=bash disable=SC2154
# A Slurm cluster of two nodes on this machine, for proofs.sh, which runs in network, mount and process namespaces of
# its own. REQUIRES: $work, an empty directory, and wait_until.

readonly control_port=27000

# slurmctld looks addresses up with AI_ADDRCONFIG, which finds none where all of them are 127.*: hence a second one,
# of a range that is reserved for documentation.
start_network() {
  ip link set lo up
  ip address add 192.0.2.1/32 dev lo
  hostname kangpt
  echo "127.0.0.1 localhost kangpt" >"$work/hosts"
  mount --bind "$work/hosts" /etc/hosts
}

start_munge() {
  mkdir -m 700 "$work/munge"
  head -c 1024 /dev/urandom >"$work/munge/key"
  chmod 400 "$work/munge/key"
  munged --force --num-threads=1 --key-file="$work/munge/key" --socket="$work/munge/socket" \
    --pid-file="$work/munge/pid" --log-file="$work/munge/log" --seed-file="$work/munge/seed" 2>/dev/null
}

write_slurm_conf() {
  cat <<CONF
ClusterName=kangpt
SlurmctldHost=kangpt(127.0.0.1)
SlurmctldPort=$control_port
SlurmUser=root
AuthInfo=socket=$work/munge/socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool-%n
TmpFS=$work/tmp-%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1,sched_interval=2
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
OverTimeLimit=2
NodeName=a[1-2] NodeHostname=kangpt NodeAddr=127.0.0.1 Port=[$((control_port + 1))-$((control_port + 2))] CPUs=2
PartitionName=normal Nodes=a[1-2] Default=YES PriorityTier=1 GraceTime=300
PartitionName=urgent Nodes=a[1-2] PriorityTier=10 PreemptMode=OFF
CONF
}

both_nodes_idle() { [[ $(sinfo --noheader --partition=normal --format='%D %T' 2>/dev/null) == "2 idle" ]]; }

start_cluster() {
  start_network
  start_munge
  mkdir "$work/state" "$work"/{spool,tmp}-a{1,2}
  export SLURM_CONF=$work/slurm.conf
  write_slurm_conf >"$SLURM_CONF"
  slurmctld
  slurmd -N a1
  slurmd -N a2
  wait_until both_nodes_idle
}

# Makes the next job start on a clean cluster, whatever the one before has left.
reset_cluster() {
  scancel --user=root
  wait_until no_jobs
  scontrol update NodeName=a[1-2] State=RESUME 2>/dev/null || true  # an error where they are up
  wait_until both_nodes_idle
}

no_jobs() { [[ -z $(squeue --noheader) ]]; }
