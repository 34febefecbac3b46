"""What of the paper holds? Its tables beside ours, a verdict on each claim, and the page (Tables I to III)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
