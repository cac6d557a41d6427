"""What to do when training goes wrong or slowly: `debug=replay`, `debug=profile`.

May enter: what reruns or watches a step to explain it. Contract: no checkpoint is written, no weight kept.
"""
