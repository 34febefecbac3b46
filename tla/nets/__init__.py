"""An ImageNet network as six named stages."""
