"""Where does the network look? Integrated Gradients, the clips that they explain, and an audit (Fig. 3)."""
