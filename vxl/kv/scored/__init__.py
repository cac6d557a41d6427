"""What policies share that give every entry a score and keep the best: budget, protection, ties, moments.

A policy of this room says three things: a score (`Scored.score`), which entries are sure to stay
(`Scored.sure`), and, where it differs from the budget, how much room a layer has (`Scored.rooms`). Everything
else is here and the same for all of them. May enter: what at least two such policies share.

Letters: B rows · N key-value heads (1 where all heads agree) · R query heads of each · S entries held ·
Q observing tokens · F columns fed · H head width · L layers.
"""
