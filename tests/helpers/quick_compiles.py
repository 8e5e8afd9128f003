"""Tests compile much and compute little: what makes XLA compile in a third of the time, to slower programs."""

FLAGS = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
)
