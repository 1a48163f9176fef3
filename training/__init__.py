"""Training: the run's folder, its plan and loop, its checkpoints and its log.

`preflight` checks everything before the first step, without Jittor. `loop` runs the phases of
`plan`. `trainer` makes a step with `optimizer` and `ema`. `checkpoint` saves the state.
"""
