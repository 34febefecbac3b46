"""How much did each layer change? A network before and after fine-tuning, layer by layer (Fig. 2a)."""
