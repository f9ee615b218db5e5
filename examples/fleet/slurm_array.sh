#!/usr/bin/env bash
# sbatch --array=1-16 slurm_array.sh CHECKPOINTS CONVERTED
#SBATCH --job-name=se-resnet
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --requeue
set -euo pipefail

# A requeued or resubmitted task resumes where it stopped.
exec se-resnet convert --batch "$1" "$2" --to .safetensors --manifest --resume \
    --shard "${SLURM_ARRAY_TASK_ID}/${SLURM_ARRAY_TASK_COUNT}" --jobs "${SLURM_CPUS_PER_TASK:-1}" --quiet
