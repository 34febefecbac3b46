"""Which stages need pretrained weights, which have to move, which are needed at all (Fig. 2b, 2c, section IV-B)?"""
