"""Image files: finding them, what their pixels mean, writing them whole."""
