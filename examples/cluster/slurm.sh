#!/usr/bin/env bash
# Pre-training on machines of a SLURM cluster, one process for each GPU. Everything behind the name of
# this script is what `ssl-seg train` would be given; --out must lie on a disk that all machines share:
#
#   sbatch examples/cluster/slurm.sh /shared/photos --backbone resnet50 --out /shared/runs/first
#
# Three minutes before its time is up, every process gets SIGUSR1: the run saves, ends with 138, and is
# put back into the queue, where it goes on from there. So it does after a machine was taken away.
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

out=""
for ((place = 1; place < $#; place++)); do
    if [[ "${!place}" == --out ]]; then
        next=$((place + 1))
        out="${!next}"
    fi
done
if [[ -z "$out" ]]; then
    echo "give --out FOLDER, on a disk that all machines share" >&2
    exit 2
fi

words=("$@")
if compgen -G "$out/checkpoints/step-*" > /dev/null; then
    words=(--resume --out "$out")
fi

export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
# decoded images: on each machine's own disk they are read fastest, and made once a machine
export SSL_SEG_CACHE="${SSL_SEG_CACHE:-${SLURM_TMPDIR:-/tmp}/ssl-seg}"

# srun tells each process who it is, and ssl-seg understands that: no torchrun is needed
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" ssl-seg train "${words[@]}"
status=$?

if ((status == 138)); then # 128 + SIGUSR1: saved because the time was up
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
