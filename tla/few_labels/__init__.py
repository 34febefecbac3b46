"""How many labels does pretraining save? Accuracy against the number of labelled clips of each class."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
