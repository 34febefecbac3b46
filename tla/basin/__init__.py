"""Which stage's change mattered, and do two trainings end in one basin? Stages put back, straight paths, averaged weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
