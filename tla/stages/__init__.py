"""Which stages need pretrained weights, which have to move, which are needed at all (Fig. 2b, 2c, section IV-B)?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
