"""Training: a run's folder, its phases and loop, its checkpoints, and what it says.

Front to back: `preparation` checks everything before the first step, without Jittor; `loop` goes
through the phases; `learner` makes a step with `optimizer` and `ema`; `checkpoint` keeps what was
reached; `painter` draws with it.
"""
