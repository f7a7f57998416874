"""Data sets as event lists: encoders, samplers that resume exactly, and one LightningDataModule per task."""
