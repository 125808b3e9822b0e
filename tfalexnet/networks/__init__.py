"""Every network as a table, and the Keras models built from the tables."""
