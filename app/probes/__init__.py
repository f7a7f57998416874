"""Pure measurements of a network: loss landscape, spike rasters."""
