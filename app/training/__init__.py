"""Training: the LightningModule, and the place where configuration becomes objects."""
