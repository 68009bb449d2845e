#!/bin/sh -e
# Builds the three programs. They need nothing at run time but the driver's libcuda.so.1 and a C library of this age.
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
[ -x "$nvcc" ] || { echo "nvcc is not here: the CUDA toolkit is missing on $(hostname)" >&2; exit 1; }
cd "$(dirname "$0")"
for program in "${@:-matmul}"; do
    "$nvcc" -O2 -std=c++17 -cudart static -Xcompiler -static-libstdc++,-static-libgcc -o "$program" "$program.cu"
done
