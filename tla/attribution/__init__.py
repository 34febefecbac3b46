"""Where does the network look? Integrated Gradients, the clips that they explain, and an audit (Fig. 3)."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
