"""How does a clip become a picture? Data sets, spectrograms, augmented variants, and the store on disk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # the names in __init__.pyi, loaded when used
