"""The networks that turn features into frame and clip probabilities."""
