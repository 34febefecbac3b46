"""How much did each layer change? A network before and after fine-tuning, layer by layer (Fig. 2a)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # the names in __init__.pyi, loaded when used
