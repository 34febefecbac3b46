"""How does a clip become a picture? Data sets, spectrograms, augmented variants, and the store on disk."""
