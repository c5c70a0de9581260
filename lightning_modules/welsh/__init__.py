"""Welsh: Welsh, Ashikhmin and Mueller, "Transferring Color to Greyscale Images", SIGGRAPH 2002."""
