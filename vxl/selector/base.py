"""What every selector is: the visual tokens of a document and its question in, the tokens that stay out."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from vxl.option.option import Option


@dataclass(frozen=True, kw_only=True)
class SelectorConfig(Option):
    """Which visual tokens a question keeps."""


@dataclass(frozen=True, eq=False)
class Selected:
    """What stays of a document's S positions of time text and visual tokens, N of them visual."""

    shown_SD: Tensor
    """What the language model reads there."""
    kept_S: Tensor
    """bool: which of them stay; time text always does."""
    scores_N: Tensor
    """How well each visual token suits the question, 0 to 1."""


class Selector(nn.Module):
    """Base of the selectors. It needs the question, so with one `watch` only encodes and `ask` prefills.

    Built by `build(config.selector, llm_width=..., seed=...)`.
    """

    drops: ClassVar[bool] = True
    """Whether it may drop anything. Otherwise it is never called, and `watch` prefills."""
    whole_query: bool = False
    """Whether the query is all text of a document, and not what the user asks alone."""

    @abstractmethod
    def select(
        self, shown_SD: Tensor, kind_S: Tensor, group_S: Tensor, query_QD: Tensor, draw: int = 0
    ) -> Selected:
        """Selects for one document.

        Args:
            shown_SD: Its time text (embeddings) and visual tokens in order, of all its videos and images.
            kind_S: Kind.TIME or Kind.VISUAL, see vxl.sequence.layout.
            group_S: The group of each, ascending.
            query_QD: Embeddings of the query's tokens, at least one.
            draw: A number for random choices: in training each sample's own, in answering the seed of the
                request.
        """
