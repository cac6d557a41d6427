"""Which visual tokens a question keeps: `selector=NAME` is conf/selector/NAME.yaml.

A selector needs the question, so with one a video is only encoded when it is watched, and each question
prefills the visual tokens that it keeps. May enter: what scores and drops visual tokens by a question.
Contract: see `vxl.selector.base.Selector`. One document goes in with its own question; time text always
stays.

Example:
    A selector that keeps every second visual token, whatever the question.

    >>> from vxl.selector.base import Selected, Selector
    >>> from vxl.sequence.layout import Kind
    >>> class EverySecond(Selector):
    ...     def select(self, shown_SD, kind_S, group_S, query_QD, draw=0):
    ...         visual_S = kind_S == Kind.VISUAL
    ...         kept_S = ~visual_S | (visual_S.cumsum(0) % 2 == 1)
    ...         return Selected(shown_SD, kept_S, torch.ones(int(visual_S.sum())))
    >>> kind_S = torch.tensor([Kind.TIME, Kind.VISUAL, Kind.VISUAL, Kind.VISUAL])
    >>> selected = EverySecond().select(torch.zeros(4, 6), kind_S, torch.zeros(4), torch.zeros(2, 6))
    >>> selected.kept_S
    tensor([ True,  True, False,  True])
"""
