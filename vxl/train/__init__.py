"""Training: from an opened run directory to RESULT.json; begins with `vxl.train.run.train_or_resume`.

    step       one optimizer step: batch, loss, gradient accumulation and clipping, optimizer, schedule
    report     what is said about it: metrics, throughput and MFU, validation, progress bar, W&B
    saving     when a checkpoint is written, which stay, and what a signal does
    parallel   `strategy=`: one model on several processes, and its checkpoint folders
    launch     `cluster=`: which processes there are, and where they start
    debug      `debug=profile`, `debug=replay`

May enter: whatever needs Lightning, which no other room imports. Contract: at the end of each step
`vxl.train.step_end` hands one StepReport along; the numbers of a run do not depend on strategy, ranks,
workers or interruptions.
"""
