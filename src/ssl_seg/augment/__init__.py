"""Random views of a batch of images, on the device, with one draw per image."""
