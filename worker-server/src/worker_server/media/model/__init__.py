"""Value objects of a source and of an edit; pure functions over them."""
