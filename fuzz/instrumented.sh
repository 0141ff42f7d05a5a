#!/bin/sh
# A wrapper of rustc that lets libFuzzer see which way an input takes through our own packages, as cargo-fuzz does it:
# the flags are those of `cargo fuzz build --sanitizer none`, which stable compilers take.
rustc=$1
shift
exec "$rustc" "$@" -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
