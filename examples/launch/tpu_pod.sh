#!/usr/bin/env bash
# One command on all hosts of a TPU pod slice; JAX finds the coordinator and its place by itself.
# The run folder has to be one that all hosts see: a mounted bucket or network file system.
#
#   NAME=my-slice ZONE=us-central2-b OUT=/mnt/runs/rbd bash tpu_pod.sh
set -euo pipefail
gcloud compute tpus tpu-vm ssh "$NAME" --zone "$ZONE" --worker all --command "
  python3 -m pip install -q -U 'jax[tpu]' subspace-jax &&
  subspace run rbd --distributed --dataset fashion_mnist --model cnn --batch-size 1024 \
    --epochs 10 --out '$OUT'"
