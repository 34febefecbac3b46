"""Where does the network look? Integrated Gradients, the clips that they explain, and an audit (Fig. 3)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
