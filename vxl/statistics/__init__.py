"""What a number from few questions or few seeds is worth: intervals, spreads and paired comparisons."""

from vxl.statistics.basic import Interval, Paired, Spread, paired, spread, wilson
from vxl.statistics.clustered import Estimate, ItemScore, estimate
from vxl.statistics.comparison import Difference, difference
from vxl.statistics.resampling import bootstrap, holm, mcnemar, sign_flip
from vxl.statistics.seeds import OverSeeds, over_seeds

__all__ = [
    "Difference",
    "Estimate",
    "Interval",
    "ItemScore",
    "OverSeeds",
    "Paired",
    "Spread",
    "bootstrap",
    "difference",
    "estimate",
    "holm",
    "mcnemar",
    "over_seeds",
    "paired",
    "sign_flip",
    "spread",
    "wilson",
]
