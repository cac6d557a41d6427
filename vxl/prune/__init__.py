"""Which visual tokens reach the language model, whatever the question: `prune=NAME` is conf/prune/NAME.yaml.

May enter: methods that drop or merge visual tokens between the compressor and the language model.
Contract: a `Pruner` gets the tokens of one video, group by group, and says which places stay and what
stands in them. Kept tokens keep their order, their group and their time text; `keep=1` changes nothing,
bit for bit.

Example:
    >>> import torch
    >>> from vxl.prune.base import VideoTokens
    >>> from vxl.prune.evs import EVS, EVSConfig
    >>> still_GKD = torch.ones(3, 4, 2)
    >>> EVS(EVSConfig(keep=1 / 3)).prune(VideoTokens(still_GKD)).kept_GK.sum(dim=1)
    tensor([4, 0, 0])
"""
