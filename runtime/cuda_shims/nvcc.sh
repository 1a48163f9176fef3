#!/usr/bin/env bash
# Jittor 1.3.11 requests C++14, but CUDA 13's headers need C++17. Jittor knows GPUs up to compute
# capability 9.0: for newer ones this also keeps the code in the form that their driver compiles.
newest=no
for argument in "$@"; do
  if [[ $argument == -arch=compute_90 ]]; then newest=yes; fi
done
arguments=()
for argument in "$@"; do
  if [[ $argument == -std=c++14 ]]; then argument=-std=c++17; fi
  if [[ $argument == -code=sm_90 && $newest == yes ]]; then argument=-code=sm_90,compute_90; fi
  arguments+=("$argument")
done
exec NVCC "${arguments[@]}"
