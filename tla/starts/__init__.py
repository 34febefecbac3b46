"""How well are these sounds predicted, and does it help to start from a pretrained network (Table I)?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
