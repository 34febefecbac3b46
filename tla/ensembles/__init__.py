"""Do several runs beat one? Their average, what they miss together, and calibration (Table II)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
