#!/usr/bin/env bash
# Pre-training on a SLURM cluster, one process per GPU. Arguments are passed to `ssl-seg train`; --out must
# be on a disk that all machines share:
#
#   sbatch examples/cluster/slurm.sh /shared/photos --backbone resnet50 --out /shared/runs/first
#
# Three minutes before the time limit, every process gets SIGUSR1: the run saves, exits with 138, is requeued
# and resumes. It also resumes after the loss of a machine.
#SBATCH --job-name=ssl-seg
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -uo pipefail

export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
# image cache: on the local disk of each machine, built once per machine
export SSL_SEG_CACHE="${SSL_SEG_CACHE:-${SLURM_TMPDIR:-/tmp}/ssl-seg}"

# ssl-seg reads the rank from the environment of srun: no torchrun is needed
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" ssl-seg train --auto-resume "$@"
status=$?

if ((status == 138)); then # 128 + SIGUSR1: saved because the time was up
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
