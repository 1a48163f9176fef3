#!/usr/bin/env bash
# Jittor 1.3.11 asks for C++14, CUDA 13's headers for C++17. And the newest card that it knows is of
# compute capability 9.0: for newer ones its code is kept in the form that their driver compiles.
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
