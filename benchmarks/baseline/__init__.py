"""Plain implementations that the benchmarks compare with; frozen.

Each is written straight from the specification in eager PyTorch, with fused attention where there is
attention and nothing else done for speed. Parameters carry the original's names, dead ones are left out, and
`forward` takes what the models of `mer_hf` take.
"""
