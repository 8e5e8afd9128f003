"""From declarations and weights to TFLite files. The only room that imports TensorFlow, and only when it is used."""
