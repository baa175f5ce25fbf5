"""The embedded TensorFlow Serving."""
