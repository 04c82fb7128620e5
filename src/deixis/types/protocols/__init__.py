"""What a type checker knows of methods and of the parts they are built on: Protocols, since neither share a base.

* **Kinds of method**: `TrainedMethod`, `FittedMethod`, `TrainingFreeMethod` and `EvaluatorMethod` are `AnyMethod` and
  what the engine calls of every method of that kind.
* **Hooks** (`Has...`) are called where a method has them: the engine asks `isinstance(method, HasStages)`.
* **Capabilities** (`Offers...`) are those of `CAPABILITIES`, with the same arguments. A method may inherit one that it
  does not offer, and so its card decides: ask `offers` of `deixis.engine`.
* **Kinds of part** are what a method may use of a part.

All can be given to `isinstance`, which looks whether the members are there and not at their arguments; the tests of the
contract look at these. No member is a module, a parameter or a buffer, since from Python 3.12 on `isinstance` does not
see those.
"""

from deixis.types.protocols import capabilities, methods, parts, passage_hooks, word_hooks
from deixis.types.protocols.capabilities import *  # noqa: F403
from deixis.types.protocols.methods import *  # noqa: F403
from deixis.types.protocols.parts import *  # noqa: F403
from deixis.types.protocols.passage_hooks import *  # noqa: F403
from deixis.types.protocols.word_hooks import *  # noqa: F403

__all__ = [*capabilities.__all__, *methods.__all__, *parts.__all__, *passage_hooks.__all__, *word_hooks.__all__]
